// Package clienthello reads the first message of a TLS client: the name of the server that it asks
// for (SNI, RFC 6066) and the protocols that it offers (ALPN, RFC 7301). It also recognizes clients
// that do not speak TLS.
//
// The message is read across records and segments of any size, and never decrypted or changed. With
// Encrypted ClientHello, the name is the public one of the outer hello.
//
// What is not allowed in a ClientHello is an error: a router that took a broken hello for one
// without a name would send the client where it does not belong.
package clienthello
