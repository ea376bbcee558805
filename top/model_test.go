package top

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/google/go-cmp/cmp"

	"l4proxy/admin"
	"l4proxy/internal/term"
)

var update = flag.Bool("update", false, "write the expected screens in testdata")

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func before(d time.Duration) *time.Time { return new(began.Add(-d)) }

// fake is a proxy that notes what it is asked to do.
type fake struct {
	err   error
	calls []any
}

func (f *fake) Status(context.Context) (*admin.Status, error) { return nil, f.err }
func (f *fake) Stats(context.Context) (*admin.Stats, error)   { return nil, f.err }

func (f *fake) Connections(_ context.Context, q admin.ConnectionQuery) (*admin.ConnectionPage, error) {
	f.calls = append(f.calls, q)
	return connections(), f.err
}

func (f *fake) Drain(_ context.Context, q admin.DrainRequest) (*admin.Drain, error) {
	f.calls = append(f.calls, q)
	return &admin.Drain{Listener: q.Listener, Pool: q.Pool, Backend: q.Backend}, f.err
}

func (f *fake) Kill(_ context.Context, q admin.KillRequest) (*admin.Kill, error) {
	f.calls = append(f.calls, q)
	return &admin.Kill{Matched: 1, Killed: 1}, f.err
}

// samples are two samples, one second apart.
func samples() (first, second *sample) {
	at := func(seconds int, n uint64) *sample {
		now := began.Add(time.Duration(seconds) * time.Second)
		s := &admin.Status{
			Version: "1.2.3", PID: 42, Started: began.Add(-26 * time.Hour), Ready: true, Connections: 1234, MaxConnections: 9000,
			Listeners: []admin.ListenerStatus{
				{Name: "web", Pool: "web", Addresses: []string{"0.0.0.0:443", "[::]:443"}, State: admin.ListenerOpen, Connections: 1200, MaxConnections: 5000},
				{Name: "postgres", Pool: "pg", Addresses: []string{"10.0.0.1:5432"}, State: admin.ListenerDraining, Connections: 34},
			},
			Pools: []admin.PoolStatus{
				{Name: "web", Policy: "least_conn", Serving: true, Backends: []admin.BackendStatus{
					{Address: "10.0.1.1:8443", State: admin.BackendUp, Connections: 700, Weight: 1, Total: 1000 + 30*n, Since: before(26 * time.Hour)},
					{Address: "app.example:8443", Resolved: "10.0.1.2:8443", State: admin.BackendUp, Connections: 500, Weight: 2, Total: 900 + 20*n, Since: before(3 * time.Minute)},
					{Address: "10.0.1.3:8443", State: admin.BackendDown, Weight: 1, Total: 100, FailedDials: 7 + n, Since: before(90 * time.Second), Error: "connect: connection refused"},
				}},
				{Name: "pg", Policy: "first", Serving: true, Queued: 3, Backends: []admin.BackendStatus{
					{Address: "10.0.2.1:5432", State: admin.BackendDrain, Connections: 34, Weight: 1, MaxConnections: 50, Total: 60, Since: before(time.Minute)},
					{Address: "10.0.2.2:5432", State: admin.BackendUnknown, Backup: true, Weight: 1},
				}},
			},
			Drains: []admin.Drain{{Listener: "postgres", State: admin.DrainRunning}, {Pool: "pg", Backend: "10.0.2.1:5432", State: admin.DrainRunning}},
		}
		stats := &admin.Stats{
			Time: now, Busy: []float64{0.25, 0.35},
			Listeners: []admin.ListenerStats{
				{Name: "web", Accepted: 5000 + 50*n, Denied: 10 + 2*n, BytesIn: 1e9 + 12_345_678*n, BytesOut: 2e9 + 98_765_432*n},
				{Name: "postgres", Accepted: 70, Failed: 3 + n},
			},
			Pools: []admin.PoolStats{{Name: "web", Dials: 7000 + 51*n, FailedDials: 7 + n, DialP50: 0.00041, DialP99: 0.012}, {Name: "pg", Dials: 60}},
		}
		return &sample{at: now, status: s, stats: stats}
	}
	return at(0, 0), at(1, 1)
}

func connections() *admin.ConnectionPage {
	return &admin.ConnectionPage{Total: 1234, Matched: 1234, Connections: []admin.Connection{
		{ID: "1-7", Listener: "web", Pool: "web", Client: "192.0.2.7:50123", Backend: "10.0.1.1:8443", State: "open", Age: 65, Idle: 0.2,
			BytesIn: 1_000_000, BytesOut: 234_000_000, RateIn: 1000, RateOut: 40_000_000, ClientTCP: &admin.TCPInfo{RTT: 0.0421}},
		{ID: "0-3", Listener: "web", Pool: "web", Client: "[2001:db8:1:2:3:4:5:6]:40000", Backend: "10.0.1.2:8443", State: "half-closed", Age: 7200, Idle: 12,
			BytesIn: 77, BytesOut: 99, RateOut: 12},
		{ID: "0-9", Listener: "postgres", Pool: "pg", Client: "unix", State: "queued", Age: 1.5, Idle: 1.5},
	}}
}

func newTest(width, height int) (*model, *fake) {
	source := new(fake)
	m := newModel(context.Background(), source, Options{
		Address: "127.0.0.1:9901", Interval: time.Second,
		Problems: func(*admin.Status, time.Time) []Problem {
			return []Problem{{"backend 10.0.1.3:8443 of pool web: down for 1m30s: connect: connection refused", term.Bad}, {"pool pg: 3 clients wait for a backend", term.Warn},
				{"listener postgres is draining: 34 connections of 34 left", term.Plain}, {"backend 10.0.2.1:5432 of pool pg is draining: 34 connections of 34 left", term.Plain}}
		},
		Describe: func(d *admin.Drain, _ time.Time) string { return d.What() + " is draining" },
	})
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	first, second := samples()
	m.Update(sampled{sample: first})
	m.Update(sampled{sample: second})
	return m, source
}

// press sends keys, and runs what they start. A key of several letters has its name.
func press(t *testing.T, m *model, keys ...string) {
	t.Helper()
	codes := map[string]tea.KeyPressMsg{
		"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "tab": {Code: tea.KeyTab}, "down": {Code: tea.KeyDown}, "end": {Code: tea.KeyEnd},
		"backspace": {Code: tea.KeyBackspace}, "space": {Code: tea.KeySpace, Text: " "}, "pgup": {Code: tea.KeyPgUp},
	}
	for _, name := range keys {
		k, ok := codes[name]
		if !ok {
			k = tea.KeyPressMsg{Code: []rune(name)[0], Text: name}
		}
		if k.String() != name {
			t.Fatalf("the key %s is %s", name, k)
		}
		_, cmd := m.Update(k)
		run(m, cmd)
	}
}

// run runs a command, and gives its messages to the model. What a Batch holds runs in order.
func run(m *model, cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case tea.BatchMsg:
		for _, c := range msg {
			run(m, c)
		}
	case sampled: // of the fake, which has no status
		m.sampling = false
	case nil:
	default:
		_, next := m.Update(msg)
		run(m, next)
	}
}

// golden compares a screen with a file, and checks that it fits on the terminal.
func golden(t *testing.T, m *model, name string) {
	t.Helper()
	got := m.screen()
	lines := strings.Split(got, "\n")
	if len(lines) != m.height {
		t.Errorf("%s: %d lines on a terminal of %d", name, len(lines), m.height)
	}
	for i, line := range lines {
		if term.Width(line) > m.width {
			t.Errorf("%s: line %d has %d columns on a terminal of %d", name, i+1, term.Width(line), m.width)
		}
		lines[i] = strings.TrimRight(strings.NewReplacer("\x1b[7m", "[", "\x1b[m", "]").Replace(line), " ")
	}
	got = strings.Join(lines, "\n") + "\n"
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
}

// The selected tab and line are in brackets in the files.
func TestScreens(t *testing.T) {
	for _, size := range []struct{ width, height int }{{80, 24}, {130, 20}, {40, 12}} {
		m, _ := newTest(size.width, size.height)
		for _, tab := range []string{"1", "2", "3", "4"} {
			press(t, m, tab)
			golden(t, m, fmt.Sprintf("%dx%d-%s", size.width, size.height, tab))
		}
		press(t, m, "?")
		golden(t, m, fmt.Sprintf("%dx%d-help", size.width, size.height))
	}
}

// Any size works, also one that shows next to nothing.
func TestAnySize(t *testing.T) {
	for width := 1; width < 200; width += 9 {
		for height := 1; height < 40; height += 3 {
			m, _ := newTest(width, height)
			for _, keys := range []string{"1", "2", "3", "4", "?", "1d", "n/"} {
				for _, key := range keys {
					press(t, m, string(key))
				}
				lines := strings.Split(m.screen(), "\n")
				if len(lines) != height {
					t.Fatalf("%dx%d after %s: %d lines", width, height, keys, len(lines))
				}
				for _, line := range lines {
					if term.Width(line) > width {
						t.Fatalf("%dx%d after %s: a line of %d columns: %q", width, height, keys, term.Width(line), line)
					}
				}
			}
		}
	}
}

func TestNothingYet(t *testing.T) {
	m := newModel(context.Background(), new(fake), Options{Address: "127.0.0.1:9901", Interval: time.Second})
	if got := m.screen(); !strings.Contains(got, "waiting for 127.0.0.1:9901") {
		t.Errorf("%q", got)
	}
	press(t, m, "1", "2", "3", "4", "down", "d", "x", "enter", "s", "S", "/", "a", "esc", "space", "?")
}

// Colors have a meaning, and without them the selection still shows.
func TestColors(t *testing.T) {
	m, _ := newTest(80, 24)
	if got := m.screen(); strings.Contains(strings.NewReplacer("\x1b[7m", "", "\x1b[m", "").Replace(got), "\x1b") {
		t.Errorf("colors that were not wanted: %q", got)
	}
	m.options.Color = true
	press(t, m, "3")
	for _, want := range []string{"\x1b[31mdown\x1b[m", "\x1b[33mdrain\x1b[m", "\x1b[32mup\x1b[m", "\x1b[1mPOOL\x1b[m", "\x1b[32mready\x1b[m"} {
		if got := m.screen(); !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

// The name of a backend cannot control the terminal.
func TestHostileNames(t *testing.T) {
	m, _ := newTest(80, 24)
	_, s := samples()
	s.status.Version, s.status.NotReady, s.status.Ready = "\x1b[31m", "\x1b[32m\nx", false
	s.status.Pools[0].Name, s.status.Pools[0].Backends[0].Error = "\x1b[33m", "\x1b[34m\nx"
	m.options.Problems = func(*admin.Status, time.Time) []Problem { return []Problem{{Text: "\x1b[35m\nx"}} }
	m.Update(sampled{sample: s})
	m.Update(sampled{err: errors.New("\x1b[36m\nx")})
	for _, tab := range []string{"1", "2", "3", "4"} {
		press(t, m, tab)
		got := strings.NewReplacer("\x1b[7m", "", "\x1b[m", "").Replace(m.screen())
		if strings.Contains(got, "\x1b") || strings.Count(got, "\n") != 23 {
			t.Errorf("tab %s: %q", tab, got)
		}
	}
}

func rowsOf(m *model) (rows []string) {
	for _, line := range m.current().lines(term.Screen{}, 1000)[1:] {
		rows = append(rows, strings.Fields(strings.NewReplacer("\x1b[7m", "", "\x1b[m", "").Replace(line))[1])
	}
	return rows
}

func TestFilter(t *testing.T) {
	m, _ := newTest(80, 24)
	press(t, m, "3", "/", "R", "e", "f", "u")
	if got := rowsOf(m); !cmp.Equal(got, []string{"10.0.1.3:8443"}) {
		t.Errorf("by its error: %q", got)
	}
	press(t, m, "backspace", "backspace", "backspace", "backspace", "d", "r", "a", "q")
	if got := m.screen(); !strings.Contains(got, "filter: draq") {
		t.Errorf("a key of the filter was a command: %q", got)
	}
	press(t, m, "backspace", "enter")
	if got := rowsOf(m); !cmp.Equal(got, []string{"10.0.2.1:5432"}) {
		t.Errorf("by its state: %q", got)
	}
	press(t, m, "/", "z", "z", "esc")
	if got := rowsOf(m); len(got) != 5 {
		t.Errorf("after esc: %q", got)
	}
	m.editing = true
	m.Update(tea.PasteMsg{Content: "app.\nexample"})
	m.Update(tea.PasteMsg{Content: strings.Repeat("x", 1000)})
	if m.backends.filter != "app. example" {
		t.Errorf("pasted: %q", m.backends.filter)
	}
}

func TestSort(t *testing.T) {
	m, _ := newTest(80, 24)
	press(t, m, "3", "s", "s") // by pool, then by backend
	want := []string{"10.0.1.1:8443", "10.0.1.3:8443", "10.0.2.1:5432", "10.0.2.2:5432,", "app.example:8443"}
	if got := rowsOf(m); !cmp.Equal(got, want) {
		t.Errorf("by address: %q", got)
	}
	press(t, m, "s") // by state, the worst first
	if got := rowsOf(m); got[0] != "10.0.1.3:8443" || got[1] != "10.0.2.1:5432" {
		t.Errorf("by state: %q", got)
	}
	press(t, m, "s") // by connections, the most first
	if got := rowsOf(m); got[0] != "10.0.1.1:8443" || got[1] != "app.example:8443" {
		t.Errorf("by connections: %q", got)
	}
	press(t, m, "S")
	if got := rowsOf(m); got[4] != "10.0.1.1:8443" {
		t.Errorf("reversed: %q", got)
	}
	for range 6 {
		press(t, m, "s")
	}
	if m.backends.sort != -1 || m.backends.back {
		t.Errorf("after the last column: sorted by %s", m.backends.sortedBy())
	}
}

// The selection stays on its line when lines come, go and change their order.
func TestSelectionStays(t *testing.T) {
	m, _ := newTest(80, 24)
	press(t, m, "3", "down", "down")
	press(t, m, "s", "s", "s")
	_, next := samples()
	next.status.Pools[0].Backends = next.status.Pools[0].Backends[1:]
	m.Update(sampled{sample: next})
	if b := m.backends.current(); b == nil || b.Address != "10.0.1.3:8443" {
		t.Errorf("selected: %+v", b)
	}
	next.status.Pools = nil
	m.Update(sampled{sample: next})
	if b := m.backends.current(); b != nil {
		t.Errorf("selected in an empty list: %+v", b)
	}
	m.screen()
}

// A drain is asked for, and begins only with y. What is drained already is put back.
func TestDrain(t *testing.T) {
	m, source := newTest(80, 24)
	press(t, m, "d")
	if got := m.foot(); got != "drain listener web? no new clients; 1200 connections stay until they end (y/n)" {
		t.Errorf("%q", got)
	}
	press(t, m, "n")
	press(t, m, "d", "q")
	press(t, m, "2", "d")
	if len(source.calls) != 0 || m.question != nil || !strings.Contains(m.foot(), "select a listener (1) or a backend (3)") {
		t.Errorf("calls %v, %q", source.calls, m.foot())
	}
	press(t, m, "3", "d", "y")
	if got := m.foot(); got != "backend 10.0.1.1:8443 of pool web is draining" {
		t.Errorf("%q", got)
	}
	press(t, m, "end", "k", "d", "y")
	press(t, m, "1", "j", "d", "y")
	want := []any{
		admin.DrainRequest{Pool: "web", Backend: "10.0.1.1:8443"},
		admin.DrainRequest{Pool: "pg", Backend: "10.0.2.1:5432", Undo: true},
		admin.DrainRequest{Listener: "postgres", Undo: true},
	}
	if diff := cmp.Diff(want, source.calls); diff != "" {
		t.Error(diff)
	}
	source.err = errors.New("a token is required")
	press(t, m, "d", "y")
	if got := m.foot(); got != "a token is required" {
		t.Errorf("%q", got)
	}
	m.now = m.now.Add(noteTime)
	if got := m.foot(); strings.Contains(got, "token") {
		t.Errorf("the note stays: %q", got)
	}
}

func TestKill(t *testing.T) {
	m, source := newTest(80, 24)
	press(t, m, "x")
	if m.question != nil {
		t.Errorf("a listener was to be killed: %q", m.foot())
	}
	press(t, m, "4")
	source.calls = nil
	press(t, m, "x")
	if got := m.foot(); got != "end the connection of 192.0.2.7:50123 to 10.0.1.1:8443? (y/n)" {
		t.Errorf("%q", got)
	}
	// The connection that was asked about is meant, also if another one is selected by now.
	m.connections.set(connections().Connections[1:])
	press(t, m, "y")
	if len(source.calls) == 0 || source.calls[0] != (admin.KillRequest{ID: "1-7"}) {
		t.Errorf("calls: %+v", source.calls)
	}
}

// Enter goes to what belongs to a line; the proxy selects connections, not the view.
func TestEnter(t *testing.T) {
	m, source := newTest(80, 24)
	press(t, m, "enter")
	press(t, m, "2", "enter")
	if got := rowsOf(m); m.tab != tabBackends || len(got) != 3 {
		t.Errorf("the backends of a pool: %q", got)
	}
	press(t, m, "down", "enter", "esc", "3", "esc")
	if got := rowsOf(m); len(got) != 5 {
		t.Errorf("all backends: %q", got)
	}
	press(t, m, "4", "enter")
	press(t, m, "/")
	for _, key := range "10.1.0.0/16" {
		press(t, m, string(key))
	}
	press(t, m, "enter")
	var asked []admin.ConnectionFilter
	for _, call := range source.calls {
		asked = append(asked, call.(admin.ConnectionQuery).ConnectionFilter)
	}
	p := func(text string) admin.ConnectionFilter {
		f, _ := from(admin.ConnectionFilter{}, text)
		return f
	}
	want := []admin.ConnectionFilter{{Listener: "web"}, {Pool: "web", Backend: "10.0.1.2:8443"}, {}, {}, p("192.0.2.7"), p("10.1.0.0/16")}
	if diff := cmp.Diff(want, asked, cmp.Comparer(func(a, b admin.ConnectionFilter) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

// The order of connections is the proxy's, which has more of them.
func TestOrderOfConnections(t *testing.T) {
	m, source := newTest(80, 24)
	press(t, m, "4", "s", "s", "s", "s")
	var asked []string
	for _, call := range source.calls {
		asked = append(asked, call.(admin.ConnectionQuery).Sort)
	}
	if want := []string{"rate", "age", "idle", "bytes", "rate"}; !cmp.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	// An answer to an older question is not shown.
	m.Update(listed{query: admin.ConnectionQuery{Sort: "age"}, page: new(admin.ConnectionPage)})
	if len(m.connections.all) != 3 {
		t.Errorf("%d connections", len(m.connections.all))
	}
}

// While the proxy is away, the last state stays on the screen, with the reason.
func TestDisconnected(t *testing.T) {
	m, _ := newTest(80, 24)
	m.Update(sampled{err: errors.New("no l4proxy answers at 127.0.0.1:9901")})
	m.Update(ticked(m.now.Add(12 * time.Second)))
	m.Update(sampled{err: errors.New("no l4proxy answers at 127.0.0.1:9901")})
	golden(t, m, "disconnected")
	// It comes back as a new process: its counters are small, which gives no rate.
	_, next := samples()
	next.at, next.stats.Time = next.at.Add(20*time.Second), next.stats.Time.Add(20*time.Second)
	next.status.PID = 43
	next.stats.Listeners[0].Accepted = 5
	m.Update(sampled{sample: next})
	if got := m.screen(); strings.Contains(got, "disconnected") || !strings.Contains(got, "pid 43") {
		t.Errorf("%s", got)
	}
	if got := m.rates.listener("web").accepted; got != unknown {
		t.Errorf("%v new clients per second", got)
	}
}

func TestPause(t *testing.T) {
	m, _ := newTest(80, 24)
	press(t, m, "space")
	m.sampling = false
	m.Update(ticked(m.now.Add(time.Second)))
	if m.sampling {
		t.Error("a paused view asks the proxy")
	}
	_, next := samples()
	next.status.Version = "9.9.9"
	m.Update(sampled{sample: next}) // it was in flight
	if got := m.screen(); !strings.Contains(got, "paused") || strings.Contains(got, "9.9.9") {
		t.Errorf("%s", got)
	}
	press(t, m, "space")
	m.Update(sampled{sample: next})
	if got := m.screen(); strings.Contains(got, "paused") || !strings.Contains(got, "9.9.9") {
		t.Errorf("%s", got)
	}
}

// At most one request of a kind is in flight, however slowly the proxy answers.
func TestSlowProxy(t *testing.T) {
	m, _ := newTest(80, 24)
	m.tab = tabConnections
	if cmd := m.request(); cmd == nil {
		t.Fatal("no request")
	}
	if cmd := m.request(); cmd != nil {
		t.Error("a second request")
	}
}

func TestQuit(t *testing.T) {
	for _, keys := range [][]string{{"q"}, {"?", "q"}} {
		m, _ := newTest(80, 24)
		var cmd tea.Cmd
		for _, key := range keys {
			_, cmd = m.Update(tea.KeyPressMsg{Code: rune(key[0]), Text: key})
		}
		if cmd == nil || cmd() != (tea.QuitMsg{}) {
			t.Errorf("%q does not quit", keys)
		}
	}
}

// Many backends take no longer than a frame: only those on the screen are laid out.
func TestManyBackends(t *testing.T) {
	m, _ := newTest(80, 24)
	at := func(n uint64) *sample {
		_, s := samples()
		s.status.Pools = s.status.Pools[:1]
		s.status.Pools[0].Backends = nil
		for i := range 10_000 {
			s.status.Pools[0].Backends = append(s.status.Pools[0].Backends, admin.BackendStatus{
				Address: fmt.Sprintf("10.%d.%d.%d:80", i/65536, i/256%256, i%256), State: admin.BackendUp, Total: n, Connections: int64(i % 77),
			})
		}
		return s
	}
	m.Update(sampled{sample: at(1)})
	press(t, m, "3", "s", "s", "s", "s", "end")
	start := time.Now()
	m.Update(sampled{sample: at(2)})
	if took := time.Since(start); took > time.Second {
		t.Errorf("taking a sample took %v", took)
	}
	allocated := testing.AllocsPerRun(5, func() { m.screen() })
	if allocated > 2000 {
		t.Errorf("a screen takes %.0f allocations", allocated)
	}
	if got := m.screen(); !strings.Contains(got, "of 10000") {
		t.Errorf("%s", got)
	}
}
