// Package peers drives real servers and their own clients through the l4proxy
// program: Redis, PostgreSQL, nginx, iperf3 and ssh, from Debian's packages,
// with each engine. It holds tests only, which run with "make peers".
//
// After each of them the proxy must have nobody left: its descriptors are those
// that it began with, it stops without having to close a connection, and its
// log accounts for every byte with no line above the level info.
package peers
