// Package listen opens listening sockets. A TCP address gets one per event loop, and the kernel
// spreads new clients between them. A unix socket address gets one. Descriptors that another
// process has opened for an address are taken over.
package listen
