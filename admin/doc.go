// Package admin serves the admin address of a running proxy: health, readiness, status and
// commands, as JSON over HTTP.
//
// It knows nothing of the proxy. [View] is what it shows, [Commands] is what it can do; the program
// adapts both. [Status], the requests and [Error] are the wire format, which the client package
// decodes again.
//
// A request passes, in this order: the limit of connections (conns.go), the checks of Host, origin
// and token (guard.go), and the table of routes (routes.go).
package admin
