// Package listen opens listening sockets: for each TCP address one per event loop, between which
// the kernel spreads new clients, and for each unix socket one. Descriptors that another process
// has opened for an address are taken over.
package listen
