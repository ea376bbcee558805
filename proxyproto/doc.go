// Package proxyproto reads and writes the PROXY protocol, versions 1 and 2: the header with which a
// proxy names the client of a connection, in front of the client's first byte.
//
// The source is HAProxy's doc/proxy-protocol.txt of 2020-03-05, called "the specification" here.
//
// Parse and Append work on bytes and allocate nothing. Neither knows a socket: which peers may send
// a header is the caller's business. The specification forbids to guess whether there is one.
package proxyproto
