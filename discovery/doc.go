// Package discovery finds out which addresses the names of backends stand for, and follows them.
//
//   - A [Resolver] asks once: /etc/hosts first, then the name servers of /etc/resolv.conf. It is a
//     client of its own because the one of the Go library hides the TTL of an answer.
//   - A [Directory] keeps the last good answer of each name, whatever happens to the name servers.
//   - A [Source] gives the endpoints of one name whenever they may have changed, until it is
//     stopped.
package discovery
