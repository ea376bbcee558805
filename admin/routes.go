package admin

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// route is one request that the API knows.
type route struct {
	method  string
	pattern string // of http.ServeMux, without the method
	// open routes need no token on any address: what they say is no secret, and health probes carry
	// no token.
	open bool
	// query says that the values of the body may stand in the query instead.
	query bool
	serve func(*Server, *call) (answer any, err error)
	// stream serves a request whose answer is not one JSON value, in place of serve.
	stream func(*Server, *call) error
}

// changes reports whether the request changes state. GET never does.
func (r *route) changes() bool { return r.method != http.MethodGet }

// routes are all requests that the API knows.
var routes = []route{
	{method: "GET", pattern: "/healthz", open: true, serve: (*Server).healthz},
	{method: "GET", pattern: "/readyz", open: true, serve: (*Server).readyz},
	{method: "GET", pattern: "/api/v1/status", serve: (*Server).status},
	{method: "GET", pattern: "/api/v1/stats", serve: (*Server).stats},
	{method: "POST", pattern: "/api/v1/reload", query: true, serve: (*Server).reload},
	{method: "POST", pattern: "/api/v1/reload/keep", serve: (*Server).keep},
	{method: "POST", pattern: "/api/v1/reload/rollback", serve: (*Server).rollback},
	{method: "POST", pattern: "/api/v1/drain", serve: (*Server).drain},
	{method: "POST", pattern: "/api/v1/upgrade", serve: (*Server).upgrade},
	{method: "GET", pattern: "/metrics", stream: (*Server).metrics},
	{method: "GET", pattern: "/api/v1/listeners", serve: (*Server).listeners},
	{method: "GET", pattern: "/api/v1/pools", serve: (*Server).pools},
	{method: "GET", pattern: "/api/v1/connections", query: true, serve: (*Server).connections},
	{method: "DELETE", pattern: "/api/v1/connections", query: true, serve: (*Server).kill},
	{method: "GET", pattern: "/api/v1/explain", query: true, serve: (*Server).explain},
	{method: "GET", pattern: "/api/v1/config", serve: (*Server).config},
	{method: "GET", pattern: "/api/v1/debug", serve: (*Server).debug},
	{method: "POST", pattern: "/api/v1/debug", serve: (*Server).setDebug},
	{method: "GET", pattern: "/api/v1/demo", serve: (*Server).demo},
	{method: "POST", pattern: "/api/v1/demo/{backend}", serve: (*Server).fault},
	{method: "PATCH", pattern: "/api/v1/pools/{pool}/backends/{address}", serve: (*Server).setBackend},
}

// handler is the table as a handler.
func (s *Server) handler() http.Handler {
	byPattern := make(map[string][]*route)
	for i := range routes {
		byPattern[routes[i].pattern] = append(byPattern[routes[i].pattern], &routes[i])
	}
	mux := http.NewServeMux()
	for pattern, methods := range byPattern {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.dispatch(w, r, methods) })
	}
	unknown := func(w http.ResponseWriter, r *http.Request) { s.dispatch(w, r, nil) }
	mux.HandleFunc("/", unknown)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !canonical(r.URL.EscapedPath()) || r.Method == http.MethodConnect {
			unknown(w, r) // ServeMux would redirect, or answer by itself
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// canonical reports whether a path is one that ServeMux does not change.
func canonical(p string) bool {
	clean := path.Clean(p)
	return strings.HasPrefix(p, "/") && (p == clean || p == clean+"/")
}

// dispatch serves a request to a path that has these routes, none if the path is unknown.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, methods []*route) {
	method := r.Method
	if method == http.MethodHead { // net/http leaves the body out
		method = http.MethodGet
	}
	i := slices.IndexFunc(methods, func(route *route) bool { return route.method == method })
	// An unknown path or method is refused like a change: it says nothing to a stranger.
	open, changes := false, method != http.MethodGet
	if i >= 0 {
		open, changes = methods[i].open, methods[i].changes()
	}
	c := &call{w: w, r: r, patience: s.patience}
	failed := s.guard.check(r, open, changes)
	if failed != nil {
		s.refused(r, failed)
	} else if i >= 0 && changes {
		failed = c.readBody()
	}
	// Until here, the connection may be closed in favor of another one: the client may not have
	// sent all of its request.
	defer s.conns.handling(r)()
	if failed != nil || i < 0 {
		w.Header().Set("Connection", "close") // otherwise, net/http waits for the rest of the body
	}
	switch {
	case failed != nil:
		c.fail(failed)
	case i >= 0:
		s.answer(c, methods[i])
	case methods == nil:
		c.fail(NotFound("no such path: "+shorten(r.URL.Path), "see /api/v1/status; an older l4proxy has fewer paths"))
	default:
		w.Header().Set("Allow", allow(methods))
		c.fail(&Error{http.StatusMethodNotAllowed, shorten(r.Method) + " is not allowed on this path", "use " + allow(methods)})
	}
	_ = http.NewResponseController(w).Flush() // net/http would do that only after handling has ended
}

// allow are the methods of a path, for the header of that name.
func allow(methods []*route) string {
	var names []string
	for _, route := range methods {
		names = append(names, route.method)
		if route.method == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	return strings.Join(names, ", ")
}

// shorten bounds what a message repeats of a request.
func shorten(text string) string {
	const most = 80
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}
