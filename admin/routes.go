package admin

import (
	"cmp"
	"encoding/json"
	"net/http"
	"path"
	"slices"
	"strings"
)

// route is one request that the API knows.
type route struct {
	method  string
	pattern string // of http.ServeMux, without the method
	// summary and the types are for the OpenAPI document. request and answer are values of the
	// types, nil for none; statuses are those of answers beside 200 that are no errors of the
	// request.
	summary  string
	request  any
	answer   any
	statuses map[int]string
	// open routes need no token on any address: what they say is no secret, and health probes carry
	// no token.
	open bool
	// query says that the values of the body may stand in the query instead.
	query bool
	// body is the largest body, in bytes; 0 is maxBody.
	body  int64
	serve func(*Server, *call) (answer any, err error)
	// stream serves a request whose answer is not one JSON value, in place of serve.
	stream func(*Server, *call) error
}

// changes reports whether the request changes state. GET never does.
func (r *route) changes() bool { return r.method != http.MethodGet }

// routes are all requests that the API knows.
var routes = []route{
	{method: "GET", pattern: "/healthz", open: true, serve: (*Server).healthz, answer: health{},
		summary: "200 if every event loop answers within 1s: the process is alive.", statuses: map[int]string{503: "An event loop hangs: restart the process."}},
	{method: "GET", pattern: "/readyz", open: true, serve: (*Server).readyz, answer: readiness{},
		summary: "200 if new clients should be sent here.", statuses: map[int]string{503: "They should not, for this reason."}},
	{method: "GET", pattern: "/api/v1/openapi.json", open: true, stream: (*Server).openAPI, answer: json.RawMessage{},
		summary: "This document."},
	{method: "GET", pattern: "/api/v1/status", serve: (*Server).status, answer: Status{},
		summary: "Version, configuration, listeners, pools with their backends and DNS names, and what is drained."},
	{method: "GET", pattern: "/api/v1/stats", serve: (*Server).stats, answer: Stats{},
		summary: "Counts of all listeners and pools at this moment. Rates are the differences between two answers."},
	{method: "GET", pattern: "/api/v1/listeners", serve: (*Server).listeners, answer: []ListenerStatus{},
		summary: "All listeners."},
	{method: "GET", pattern: "/api/v1/listeners/{listener}", serve: (*Server).oneListener, answer: ListenerStatus{},
		summary: "One listener."},
	{method: "GET", pattern: "/api/v1/pools", serve: (*Server).pools, answer: []PoolStatus{},
		summary: "All pools with their backends."},
	{method: "GET", pattern: "/api/v1/pools/{pool}", serve: (*Server).onePool, answer: PoolStatus{},
		summary: "One pool with its backends."},
	{method: "PATCH", pattern: "/api/v1/pools/{pool}/backends/{address}", serve: (*Server).setBackend, request: BackendChange{}, answer: Drain{},
		summary: "Sets the state or the weight of a backend, or both."},
	{method: "GET", pattern: "/api/v1/connections", query: true, serve: (*Server).connections, request: ConnectionQuery{}, answer: ConnectionPage{},
		summary: "Live connections, a page at a time."},
	{method: "DELETE", pattern: "/api/v1/connections", query: true, serve: (*Server).kill, request: KillRequest{}, answer: Kill{},
		summary: "Ends connections."},
	{method: "GET", pattern: "/api/v1/bans", query: true, serve: (*Server).listBans, request: BanQuery{}, answer: BanPage{},
		summary: "Banned prefixes, a page at a time."},
	{method: "PUT", pattern: "/api/v1/bans", body: maxBanBody, serve: (*Server).ban, request: BanRequest{}, answer: Banned{},
		summary: "Bans one prefix, or many at once."},
	{method: "DELETE", pattern: "/api/v1/bans", query: true, body: maxBanBody, serve: (*Server).unban, request: UnbanRequest{}, answer: Unbanned{},
		summary: "Removes bans."},
	{method: "GET", pattern: "/api/v1/explain", query: true, serve: (*Server).explain, request: ExplainQuery{}, answer: Explain{},
		summary: "What would happen to a client that connects now."},
	{method: "GET", pattern: "/api/v1/events", query: true, stream: (*Server).listEvents, request: EventQuery{}, answer: Events{},
		summary: "The latest events; with Accept: text/event-stream, a stream of them."},
	{method: "GET", pattern: "/api/v1/config", serve: (*Server).config, answer: RunningConfig{},
		summary: "The configuration in effect without secrets, what a reload would change, and what commands have changed."},
	{method: "POST", pattern: "/api/v1/reload", query: true, serve: (*Server).reload, request: ReloadRequest{}, answer: Reload{},
		summary: "Loads the configuration again, or reports what that would change."},
	{method: "POST", pattern: "/api/v1/reload/keep", serve: (*Server).keep, answer: done{},
		summary: "Confirms the running configuration."},
	{method: "POST", pattern: "/api/v1/reload/rollback", serve: (*Server).rollback, answer: done{},
		summary: "Returns to the last confirmed configuration."},
	{method: "POST", pattern: "/api/v1/drain", serve: (*Server).drain, request: DrainRequest{}, answer: Drain{},
		summary: "Drains a listener, a backend, or the whole process, which then ends.", statuses: map[int]string{202: "The drain has begun."}},
	{method: "POST", pattern: "/api/v1/upgrade", serve: (*Server).upgrade, request: UpgradeRequest{}, answer: Upgrade{},
		summary: "Replaces the process with a new one, which takes over all connections. Answers once the new process serves."},
	{method: "GET", pattern: "/api/v1/debug", serve: (*Server).debug, answer: Debug{},
		summary: "The log level, and what is traced."},
	{method: "POST", pattern: "/api/v1/debug", serve: (*Server).setDebug, request: DebugRequest{}, answer: Debug{},
		summary: "Changes the log level, or traces connections."},
	{method: "GET", pattern: "/api/v1/demo", serve: (*Server).demo, answer: []DemoBackend{},
		summary: "The backends of a demo."},
	{method: "POST", pattern: "/api/v1/demo/{backend}", serve: (*Server).fault, request: FaultRequest{}, answer: DemoBackend{},
		summary: "Breaks a backend of a demo, or repairs it."},
	{method: "GET", pattern: "/metrics", stream: (*Server).metrics,
		summary: "Metrics in the Prometheus format."},
}

// handler is the table as a handler.
func (s *Server) handler() http.Handler {
	byPattern := make(map[string][]*route)
	for _, table := range [][]route{routes, pages} {
		for i := range table {
			byPattern[table[i].pattern] = append(byPattern[table[i].pattern], &table[i])
		}
	}
	mux := http.NewServeMux()
	for pattern, methods := range byPattern {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.dispatch(w, r, methods) })
	}
	unknown := func(w http.ResponseWriter, r *http.Request) { s.dispatch(w, r, nil) }
	mux.HandleFunc("/", unknown)
	mux.HandleFunc("/assets", unknown) // ServeMux would redirect to its folder
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
	return strings.HasPrefix(p, "/") && p != "//" && (p == clean || p == clean+"/")
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
	c := &call{w: w, r: r, patience: s.patience, writing: func() { s.conns.writing(r) }}
	failed := s.guard.check(r, open, changes)
	if failed != nil {
		s.refused(r, failed)
	} else if i >= 0 && changes {
		failed = c.readBody(cmp.Or(methods[i].body, maxBody))
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
func shorten(text string) string { return bounded(text, 80) }

// bounded is text, or its beginning if it has more than most bytes.
func bounded(text string, most int) string {
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}
