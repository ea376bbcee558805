package browser

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"l4proxy/admin"
	"l4proxy/admin/web"
)

// fake answers as a proxy would that is in a state that is hard to bring about.
type fake struct {
	url string

	mu      sync.Mutex
	status  admin.Status
	config  admin.RunningConfig
	page    admin.ConnectionPage
	events  []admin.Event
	demo    []admin.DemoBackend
	busy    []float64
	traffic float64 // scale of the rates
	ended   chan struct{}
}

// serve serves the fake until the end of the test.
func (f *fake) serve(t *testing.T) *fake {
	t.Helper()
	browser(t) // it may skip the test
	f.ended = make(chan struct{})
	if f.status.Config.AppliedAt.IsZero() {
		f.status.Config.AppliedAt = time.Now().Add(-time.Hour)
	}
	f.status.Started, f.status.Uptime, f.status.Demo = time.Now().Add(-time.Hour), 3600, len(f.demo) > 0
	answer := func(get func() any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(get())
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/", web.New())
	mux.HandleFunc("GET /api/v1/status", answer(func() any {
		f.status.Uptime = time.Since(f.status.Started).Seconds()
		return f.status
	}))
	mux.HandleFunc("GET /api/v1/config", answer(func() any { return f.config }))
	mux.HandleFunc("GET /api/v1/demo", answer(func() any { return f.demo }))
	mux.HandleFunc("GET /api/v1/connections", answer(func() any { return f.page }))
	mux.HandleFunc("DELETE /api/v1/connections", answer(func() any {
		return admin.Kill{DryRun: true, Matched: len(f.page.Connections), Sample: f.page.Connections}
	}))
	mux.HandleFunc("GET /api/v1/events", f.stream)
	server := httptest.NewUnstartedServer(mux)
	server.Config.ConnState = func(net.Conn, http.ConnState) {}
	server.Start()
	f.url = server.URL + "/"
	t.Cleanup(func() {
		close(f.ended)
		server.CloseClientConnections()
		server.Close()
	})
	return f
}

// stream sends all events, five minutes of Stats, and then Stats each second.
func (f *fake) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(name string, value any) {
		text, err := json.Marshal(value)
		if err != nil {
			panic(err)
		}
		_, _ = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, text)
		_ = http.NewResponseController(w).Flush()
	}
	now := time.Now()
	var history []admin.Stats
	for i := range 60 {
		history = append(history, f.stats(now.Add(time.Duration(i-60)*5*time.Second)))
	}
	send("history", history)
	f.mu.Lock()
	events := f.events
	f.mu.Unlock()
	for _, event := range events {
		send("event", event)
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-f.ended:
			return
		case <-r.Context().Done():
			return
		case at := <-ticker.C:
			send("stats", f.stats(at))
		}
	}
}

// stats are counts that go with the status: they grow in waves.
func (f *fake) stats(at time.Time) admin.Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	const most = 50 // as the proxy sends
	seconds := float64(at.Unix() % 1e6)
	wave := func(period, phase float64) float64 { return 1 + 0.35*math.Sin(seconds/period+phase) }
	// The integral of the wave, so that the rate is the wave.
	grown := func(rate, period, phase float64) uint64 {
		return uint64(f.traffic * rate * (seconds - 0.35*period*math.Cos(seconds/period+phase) + 1000))
	}
	s := admin.Stats{Time: at, MaxConnections: f.status.MaxConnections, Busy: f.busy, Connections: int(f.traffic * 40 * wave(31, 0))}
	for i, l := range f.status.Listeners[:min(most, len(f.status.Listeners))] {
		phase := float64(i)
		s.Listeners = append(s.Listeners, admin.ListenerStats{
			Name: l.Name, Connections: int64(f.traffic * 40 * wave(31, phase)),
			Accepted: grown(30, 23, phase), Denied: grown(0.4, 17, phase), Failed: grown(0.1, 41, phase),
			BytesIn: grown(40e3, 19, phase), BytesOut: grown(900e3, 27, phase),
		})
	}
	for i, p := range f.status.Pools[:min(most, len(f.status.Pools))] {
		phase := float64(i)
		s.Pools = append(s.Pools, admin.PoolStats{
			Name: p.Name, Connections: int64(f.traffic * 40 * wave(31, phase)), Dials: grown(30, 23, phase), FailedDials: grown(0.2, 37, phase),
			Serving: p.Serving, Usable: len(p.Backends), Backends: len(p.Backends),
			DialP50: 0.0007 * wave(29, phase), DialP99: 0.004 * wave(13, phase),
		})
	}
	return s
}

func ago(d time.Duration) *time.Time { return new(time.Now().Add(-d).UTC()) }

// calm is a proxy that is well.
func calm() *fake {
	return &fake{
		traffic: 1,
		busy:    []float64{0.12, 0.09},
		status: admin.Status{
			Version: "1.0.0", PID: 4242, Ready: true, Engine: "io_uring", Workers: 2, Connections: 40, MaxConnections: 9881,
			Problems: []admin.Problem{},
			Config:   admin.ConfigStatus{File: "/etc/l4proxy/config.yaml", Generation: 3, LastOK: true, Watching: true},
			Listeners: []admin.ListenerStatus{
				{Name: "web", Pool: "web", Addresses: []string{"0.0.0.0:443", "[::]:443"}, State: admin.ListenerOpen, Connections: 38},
				{Name: "postgres", Pool: "pg", Addresses: []string{"10.0.0.1:5432"}, State: admin.ListenerOpen, Connections: 2, MaxConnections: 200, Rules: []admin.RuleStatus{
					{Name: "scanners", Clients: "file:scanners.txt", Prefixes: 48211, Action: "drop", Hits: 91834, LastHit: ago(2 * time.Second)},
					{Name: "lab", Clients: "10.66.0.0/16", Prefixes: 1, Action: "reset", Shadow: true, Hits: 12, LastHit: ago(3 * time.Hour)},
					{Name: "allow[2]", Clients: "10.0.0.0/8", Prefixes: 1, Action: "allow", Hits: 4821, LastHit: ago(time.Second)},
					{Name: "default", Clients: "all others", Action: "message"},
				}},
			},
			Pools: []admin.PoolStatus{
				{Name: "web", Policy: "p2c", Serving: true, Backends: []admin.BackendStatus{
					{Address: "10.0.1.1:443", State: admin.BackendUp, Connections: 20, Total: 91234, Weight: 1, Since: ago(time.Hour)},
					{Address: "10.0.1.2:443", State: admin.BackendUp, Connections: 18, Total: 90817, Weight: 1, Since: ago(time.Hour)},
				}},
				{Name: "pg", Policy: "least_conn", Serving: true, Backends: []admin.BackendStatus{
					{Address: "10.0.2.1:5432", State: admin.BackendUp, Connections: 2, Total: 311, Weight: 2, MaxConnections: 100, Since: ago(time.Hour)},
					{Address: "10.0.2.2:5432", State: admin.BackendUnknown, Weight: 1, Backup: true},
				}},
			},
		},
		config: admin.RunningConfig{
			File: "/etc/l4proxy/config.yaml", Generation: 3, Pending: []admin.Change{}, Runtime: []admin.RuntimeChange{},
			Config: json.RawMessage(`{"admin":{"bind":"127.0.0.1:9901","token":"REDACTED"},"workers":2,"listeners":{"web":{"bind":["0.0.0.0:443","[::]:443"],"pool":"web"},"postgres":{"bind":"10.0.0.1:5432","pool":"pg","max_connections":200}},"pools":{"web":{"policy":"p2c","backends":["10.0.1.1:443","10.0.1.2:443"]},"pg":{"backends":[{"address":"10.0.2.1:5432","weight":2},{"address":"10.0.2.2:5432","backup":true}]}}}`),
		},
		page: admin.ConnectionPage{Total: 40, Matched: 40, Connections: []admin.Connection{
			{ID: "1", Listener: "web", Pool: "web", Client: "203.0.113.9:50312", Backend: "10.0.1.1:443", State: "open", Age: 312, Idle: 0.4,
				BytesIn: 18342, BytesOut: 1403334, RateIn: 1200, RateOut: 48000, ClientTCP: &admin.TCPInfo{RTT: 0.021, Retransmits: 2}, BackendTCP: &admin.TCPInfo{RTT: 0.0004}},
			{ID: "2", Listener: "postgres", Pool: "pg", Client: "10.3.1.7:41002", Backend: "10.0.2.1:5432", State: "half-closed", Age: 90000, Idle: 8100,
				BytesIn: 4, BytesOut: 999, Traced: true, ClientTCP: &admin.TCPInfo{RTT: 0.0006}, BackendTCP: &admin.TCPInfo{RTT: 0.0005}},
			{ID: "3", Listener: "web", Pool: "web", Client: "unix", State: "connecting", Age: 0.2},
		}},
		events: []admin.Event{
			{ID: 1, Time: time.Now().Add(-2 * time.Minute), Level: "info", Type: "reload", Message: "configuration reloaded", Details: map[string]any{"generation": 3, "changes": 2}},
			{ID: 2, Time: time.Now().Add(-time.Minute), Level: "warn", Type: "backend_down", Message: "backend down", Pool: "web", Backend: "10.0.1.2:443",
				Details: map[string]any{"checks": 3, "error": "connect: connection refused"}},
			{ID: 3, Time: time.Now().Add(-30 * time.Second), Level: "info", Type: "backend_up", Message: "backend up", Pool: "web", Backend: "10.0.1.2:443", Details: map[string]any{"checks": 2}},
			{ID: 4, Time: time.Now().Add(-9 * time.Second), Level: "warn", Type: "denied", Message: "clients denied", Listener: "web", Details: map[string]any{"count": 17}},
		},
	}
}

// troubled is a proxy in which everything is wrong that can be.
func troubled() *fake {
	f := calm()
	f.traffic = 70000
	f.busy = []float64{0.97, 0.91}
	f.demo = []admin.DemoBackend{{Name: "backend-1", Address: "127.0.0.1:8081", Fault: "none"}, {Name: "backend-2", Address: "127.0.0.1:8082", Fault: "hang"}}
	const long = "a-name-that-somebody-made-up-of-all-the-words-that-say-what-this-is-for-production-eu-central-1"
	s := &f.status
	s.Connections, s.MaxConnections = 2_800_000, 3_000_000
	s.Config.LastOK = false
	s.Config.LastFailure = &admin.Failure{At: time.Now().Add(-time.Minute), Error: "config.yaml:12:3: unknown key \"polcy\": did you mean \"policy\"?\nconfig.yaml:40:7: bind is missing"}
	s.Config.Unconfirmed = &admin.Unconfirmed{Until: time.Now().Add(5 * time.Minute), RollsBackTo: 2}
	s.Listeners[0].State, s.Listeners[0].MaxConnections = admin.ListenerFull, 2_799_999
	s.Listeners = append(s.Listeners, admin.ListenerStatus{Name: long, Pool: long, State: admin.ListenerClosed},
		admin.ListenerStatus{Name: "old", Pool: "web", Addresses: []string{"unix:/run/l4proxy/a-very-long-path-to-a-socket/old.sock"}, State: admin.ListenerDraining, Connections: 12})
	backends := []admin.BackendStatus{
		{Address: "10.0.9.1:443", State: admin.BackendDown, Since: ago(3 * time.Minute), Error: "connect: connection refused", FailedDials: 18_446_744_073, Weight: 1},
		{Address: "10.0.9.2:443", State: admin.BackendBackoff, RetryIn: 4, Error: "connect: no route to host", Weight: 1, Since: ago(time.Second)},
		{Address: "10.0.9.3:443", State: admin.BackendEjected, RetryIn: 29, Error: "too many connections in a row failed", Weight: 1, Since: ago(time.Second)},
		{Address: "10.0.9.4:443", State: admin.BackendDrain, Since: ago(26 * time.Hour), Connections: 1_234_567, Total: 123_456_789_012, Weight: 1000},
		{Address: "db-with-a-long-name.internal.example.com:443", Resolved: "[2001:db8:1234:5678:9abc:def0:1234:5678]:443", State: admin.BackendUp, Connections: 7, MaxConnections: 10, Weight: 1, Since: ago(time.Hour)},
	}
	s.Pools = append(s.Pools, admin.PoolStatus{Name: long, Policy: "maglev", Queued: 12, Backends: backends,
		Names: []admin.NameStatus{{Backend: "srv:_db._tcp.example.com", Addresses: []string{"10.0.9.1:443"}, Resolved: ago(time.Minute), TTL: 30, Error: "lookup timed out", FailingSince: ago(time.Minute)}}})
	s.Drains = []admin.Drain{{Pool: long, Backend: "10.0.9.4:443", State: admin.DrainRunning, Connections: 1_234_567, Before: 2_000_000}}
	s.Problems = []admin.Problem{
		{Level: "error", Kind: "pool_down", Pool: long, Text: "pool " + long + ": no backend can serve"},
		{Level: "error", Kind: "listener_full", Listener: "web", Pool: "web", Text: "listener web has reached its limit of 2799999 connections: clients wait"},
		{Level: "error", Kind: "listener_closed", Listener: long, Pool: long, Text: "listener " + long + " is closed: no backend of pool " + long + " can serve"},
		{Level: "warn", Kind: "reload_refused", Text: "the last reload, 1m0s ago, was refused: " + s.Config.LastFailure.Error},
	}
	for i := range 30 {
		s.Problems = append(s.Problems, admin.Problem{Level: "warn", Kind: "backend_down", Pool: long, Backend: fmt.Sprintf("10.0.9.%d:443", i+1),
			Text: fmt.Sprintf("backend 10.0.9.%d:443 of pool %s: down for 3m0s: connect: connection refused", i+1, long)})
	}
	s.Problems = append(s.Problems, admin.Problem{Level: "info", Kind: "drain", Pool: long, Backend: "10.0.9.4:443", Text: "backend 10.0.9.4:443 of pool " + long + " is draining: 1234567 connections of 2000000 left"})
	f.config.Pending = []admin.Change{
		{Text: "pool web: backend 10.0.1.3:443 added", Action: "added"},
		{Text: "pool web: backend 10.0.1.2:443 removed, its 18 connections are drained", Action: "removed"},
		{Text: "process: workers 2 -> 4", Action: "changed", AtStart: true},
	}
	f.config.Runtime = []admin.RuntimeChange{
		{Text: "backend 10.0.9.4:443 of pool " + long + " is drained", Kind: "drain", Configured: "up", Now: "drain", Since: time.Now().Add(-time.Hour), Survives: []string{"reload", "upgrade"}},
		{Text: "weight of backend 10.0.1.1:443 of pool web", Kind: "weight", Configured: "1", Now: "5", Since: time.Now().Add(-time.Hour), Survives: []string{"reload"}},
	}
	return f
}

// hostile has HTML in every text that comes from the API.
func hostile(markup string) *fake {
	f := calm()
	f.demo = []admin.DemoBackend{{Name: markup, Address: markup, Fault: markup}}
	f.status = admin.Status{
		Version: markup, PID: 1, NotReady: markup, Engine: markup, Workers: 1,
		Problems:  []admin.Problem{{Level: "error", Kind: "pool_down", Text: markup, Pool: markup, Listener: markup, Backend: markup}},
		Config:    admin.ConfigStatus{File: markup, LastFailure: &admin.Failure{At: time.Now(), Error: markup}, Blocked: markup, LastRollback: &admin.RollbackDone{At: time.Now(), Reason: markup}},
		Listeners: []admin.ListenerStatus{{Name: markup, Pool: markup, Addresses: []string{markup}, State: markup}},
		Pools: []admin.PoolStatus{{Name: markup, Policy: markup, Backends: []admin.BackendStatus{{Address: markup, Resolved: markup, State: markup, Error: markup, Connections: 1}},
			Names: []admin.NameStatus{{Backend: markup, Addresses: []string{markup}, Error: markup}}}},
	}
	f.config = admin.RunningConfig{File: markup, Config: json.RawMessage(quote(markup)), PendingError: markup,
		Runtime: []admin.RuntimeChange{{Text: markup, Configured: markup, Now: markup, Survives: []string{markup}}}}
	f.page.Connections = []admin.Connection{{ID: markup, Listener: markup, Pool: markup, Client: markup, Backend: markup, State: markup}}
	f.events = []admin.Event{{ID: 1, Time: time.Now(), Level: "warn", Type: markup, Message: markup, Pool: markup, Backend: markup, Listener: markup, Details: map[string]any{markup: markup}}}
	return f
}
