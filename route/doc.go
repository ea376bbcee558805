// Package route finds the route of a client by what its first bytes say: the server name that it
// asks for (SNI), the protocols that it offers (ALPN), or that it does not speak TLS.
//
// A route takes a client if all conditions that it has are met. If several routes would take it:
//
//  1. The most specific name wins: an exact name, then the longest *.suffix, then no name.
//  2. Among routes with the same name, the first in the list wins. So the order of the list also
//     says which protocol is preferred; the order in which a client offers them does not.
//
// A route that names a server but offers none of the client's protocols is passed over, and less
// specific ones are looked at.
package route
