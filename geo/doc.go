// Package geo finds the country and the network (autonomous system) of an address from databases in
// the MaxMind DB format (https://maxmind.github.io/MaxMind-DB/).
//
// A database is in memory as a whole, never mapped: a file that another program truncates or
// replaces would end the process (SIGBUS, mmap(2)). All of its records are read when it is opened.
// So a damaged database is refused then, and a lookup decodes nothing and takes no memory.
package geo
