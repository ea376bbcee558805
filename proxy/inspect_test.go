package proxy_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// list returns all connections of a query, page by page.
func (r *running) list(q proxy.ConnQuery) (all []proxy.ConnInfo) {
	r.t.Helper()
	if q.Limit == 0 {
		q.Limit = 1000
	}
	for {
		page, err := r.server.ListConnections(context.Background(), q)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(page.Conns) > q.Limit {
			r.t.Errorf("a page of %d has %d connections", q.Limit, len(page.Conns))
		}
		all = append(all, page.Conns...)
		if q.After = page.Next; q.After == "" {
			return all
		}
	}
}

// listed returns the connections that a filter selects, once there are n.
func (r *running) listed(n int, f proxy.ConnFilter) (all []proxy.ConnInfo) {
	r.t.Helper()
	if !testnet.Within(testnet.Patience, func() bool {
		all = r.list(proxy.ConnQuery{ConnFilter: f, Hurry: true})
		return len(all) == n
	}) {
		r.t.Fatalf("%+v selects %d connections, not %d", f, len(all), n)
	}
	return all
}

// mixed is a proxy with a TCP and a unix listener, two backends, and connections of each type: two
// of 127.0.0.1, one of 127.0.0.2 and one of the unix socket.
func mixed(t *testing.T, engine string) (r *running, backends []string, clients []testnet.Conn) {
	b1, b2 := testnet.Serve(t, "tcp", "", testnet.Echo), testnet.Serve(t, "tcp", "", testnet.Echo)
	path := filepath.Join(t.TempDir(), "front.sock")
	r = start(t, engine, addresses(b1, b2), func(s *setup) {
		s.policy = "round_robin"
		s.more = append(s.more, &proxy.Listener{Name: "local", Binds: []listen.Bind{{Path: path}}})
	})
	clients = []testnet.Conn{
		testnet.DialFrom(t, "127.0.0.1", r.addr), testnet.DialFrom(t, "127.0.0.2", r.addr),
		testnet.DialFrom(t, "127.0.0.1", r.addr), testnet.Dial(t, "unix", path),
	}
	for _, c := range clients {
		mustAsk(t, c, "hello")
	}
	return r, addresses(b1, b2), clients
}

// TestListFilters: each filter selects what it says, and nothing else.
func TestListFilters(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		r, backends, clients := mixed(t, engine)
		if all := r.listed(4, proxy.ConnFilter{}); !slices.ContainsFunc(all, func(c proxy.ConnInfo) bool { return c.Listener == "local" && !c.Client.IsValid() }) {
			t.Errorf("no client of a unix socket among %+v", all)
		}
		r.listed(3, proxy.ConnFilter{Listener: "front"})
		r.listed(1, proxy.ConnFilter{Listener: "local"})
		r.listed(0, proxy.ConnFilter{Listener: "none"})
		r.listed(4, proxy.ConnFilter{Pool: "back"})
		r.listed(0, proxy.ConnFilter{Pool: "none"})
		for _, prefix := range []struct {
			text string
			want int
		}{
			{"127.0.0.2/32", 1}, {"127.0.0.0/8", 3}, {"127.0.0.1/32", 2}, {"10.0.0.0/8", 0}, {"::ffff:127.0.0.2/128", 1},
			{"::ffff:0:0/96", 3}, {"::/0", 0}, {"0.0.0.0/0", 3},
		} {
			r.listed(prefix.want, proxy.ConnFilter{From: netip.MustParsePrefix(prefix.text)})
		}
		counted := 0
		for _, b := range backends {
			all := r.list(proxy.ConnQuery{ConnFilter: proxy.ConnFilter{Backend: b}, Hurry: true})
			for i := range all {
				if all[i].Backend != b {
					t.Errorf("%s was selected for %s", all[i].Backend, b)
				}
			}
			counted += len(all)
		}
		if counted != 4 {
			t.Errorf("%d connections by backend, want 4", counted)
		}
		r.listed(0, proxy.ConnFilter{OlderThan: time.Hour})
		r.listed(0, proxy.ConnFilter{Idle: time.Hour})
		r.listed(4, proxy.ConnFilter{OlderThan: time.Millisecond, Idle: time.Millisecond}) // waits
		mustAsk(t, clients[1], "again")
		first := r.list(proxy.ConnQuery{Sort: proxy.SortIdle, Hurry: true})
		if len(first) != 4 || first[3].BytesIn != uint64(len("hello")+len("again")) {
			t.Errorf("the least idle one is %+v", first[len(first)-1])
		}
		id := first[0].ID
		if one := r.listed(1, proxy.ConnFilter{ID: id}); one[0].ID != id {
			t.Errorf("%s was selected, not %s", one[0].ID, id)
		}
		r.listed(0, proxy.ConnFilter{ID: id, Listener: "none"})
		for _, wrong := range []string{"0-0-0", "9999-0-1", "0-4000000000-1", "x", "-1-2-3", "1-2"} {
			r.listed(0, proxy.ConnFilter{ID: wrong})
		}
	})
}

// TestListDescribes: counts, times and the kernel's view of both sides.
func TestListDescribes(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		r, _, clients := mixed(t, engine)
		for _, c := range r.listed(4, proxy.ConnFilter{}) {
			if c.State != proxy.ConnOpen || c.Pool != "back" || c.BytesIn != 5 || c.BytesOut != 5 || c.Age < c.Idle || c.Age <= 0 || c.Age > testnet.Patience {
				t.Errorf("%+v", c)
			}
			if unix := !c.Client.IsValid(); (c.ClientTCP == nil) != unix {
				t.Errorf("the client's side of %+v is %+v", c, c.ClientTCP)
			}
			for _, side := range []*proxy.ConnTCP{c.ClientTCP, c.BackendTCP} {
				if side != nil && (side.RTT <= 0 || side.RTT > time.Minute || side.Retransmits > 1000) {
					t.Errorf("TCP_INFO: %+v", side)
				}
			}
			if c.BackendTCP == nil {
				t.Error("the backend's side has no TCP_INFO")
			}
		}
		_ = clients[0].CloseWrite()
		if _, err := io.ReadAll(clients[0]); err != nil {
			t.Error(err)
		}
		r.listed(3, proxy.ConnFilter{})
	})
}

// TestListStates: a connection that is dialled, one that waits, one that relays, and one that is
// half-closed.
func TestListStates(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		state := func(r *running, want proxy.ConnState) {
			t.Helper()
			testnet.Eventually(t, "a connection is "+string(want), func() bool {
				return slices.ContainsFunc(r.list(proxy.ConnQuery{Hurry: true}), func(c proxy.ConnInfo) bool { return c.State == want })
			})
		}
		silent := start(t, engine, []string{testnet.Silent(t)})
		silent.dial()
		state(silent, proxy.ConnConnecting)
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), queueing(1, 10, testnet.Patience))
		c := r.dial()
		peer := b.Accept(t)
		state(r, proxy.ConnOpen)
		waits := r.dial()
		r.waiting(1)
		state(r, proxy.ConnQueued)
		_ = c.CloseWrite()
		if _, err := io.ReadAll(peer); err != nil {
			t.Error(err)
		}
		state(r, proxy.ConnHalfClosed)
		waits.Close()
	})
}

// TestListPages walks through pages while other connections come and go. Each connection that lives
// all the while is shown once, and none is shown twice.
func TestListPages(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		stay := r.crowd(60)
		living := make(map[string]bool)
		for _, c := range r.listed(60, proxy.ConnFilter{}) {
			living[c.ID] = true
		}
		stop, churn := make(chan struct{}), make(chan error, 1)
		go func() {
			var err error
			for i := 0; err == nil; i++ {
				select {
				case <-stop:
					churn <- nil
					return
				default:
				}
				var c testnet.Conn
				if c, err = testnet.TryDial("tcp", r.addr); err == nil {
					_, err = ask(c, "short")
					err = errors.Join(err, c.Close())
				}
				_, err2 := ask(stay[i%len(stay)], "moves") // changes the order
				err = errors.Join(err, err2)
			}
			churn <- err
		}()
		for _, sort := range []proxy.ConnSort{proxy.SortAge, proxy.SortIdle, proxy.SortBytes, proxy.SortRate} {
			shown := make(map[string]int)
			for _, c := range r.list(proxy.ConnQuery{Sort: sort, Limit: 7, Hurry: true}) {
				shown[c.ID]++
			}
			for id := range living {
				if shown[id] == 0 {
					t.Errorf("sorted by %s, %s was not shown", sort, id)
				}
			}
			for id, n := range shown {
				if n > 1 {
					t.Errorf("sorted by %s, %s was shown %d times", sort, id, n)
				}
			}
		}
		close(stop)
		if err := <-churn; err != nil {
			t.Error(err)
		}
	})
}

// TestListOrders: the first page has the first ones, and pages of another query are refused.
func TestListOrders(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		clients := r.crowd(4)
		mustAsk(t, clients[2], "the most bytes")
		r.listed(4, proxy.ConnFilter{})
		ages := r.list(proxy.ConnQuery{Limit: 1, Hurry: true})
		for i := 1; i < len(ages); i++ {
			if ages[i].Client.Port() != port(clients[i]) {
				t.Errorf("the connection of age %d is %v, not %v", i, ages[i].Client, clients[i].LocalAddr())
			}
		}
		q := proxy.ConnQuery{Sort: proxy.SortBytes, Limit: 1, Hurry: true}
		page, err := r.server.ListConnections(t.Context(), q)
		if err != nil || page.Conns[0].Client.Port() != port(clients[2]) || page.Total != 4 || page.Matched != 4 || page.Next == "" {
			t.Fatalf("%+v, %v", page, err)
		}
		for _, wrong := range []proxy.ConnQuery{
			{Sort: proxy.SortBytes, After: "bytes-99-1"}, {Sort: proxy.SortIdle, After: page.Next}, {Sort: proxy.SortAge, After: page.Next},
			{Sort: proxy.SortBytes, After: page.Next, ConnFilter: proxy.ConnFilter{Listener: "front"}},
			{Sort: proxy.SortBytes, After: "bytes-1-1000000000"}, {Sort: proxy.SortBytes, After: "x"}, {Sort: proxy.SortAge, After: "age-1-x"},
		} {
			wrong.Limit = 1
			if p, err := r.server.ListConnections(t.Context(), wrong); !errors.Is(err, proxy.ErrAfter) {
				t.Errorf("%+v: %+v, %v", wrong, p, err)
			}
		}
		for range 8 { // the list is no longer among those that are kept
			if _, err := r.server.ListConnections(t.Context(), q); err != nil {
				t.Error(err)
			}
		}
		q.After = page.Next
		if p, err := r.server.ListConnections(t.Context(), q); !errors.Is(err, proxy.ErrExpired) {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

func port(c testnet.Conn) uint16 { return netip.MustParseAddrPort(c.LocalAddr().String()).Port() }

// TestListRates: a client that sends at a steady pace has about that rate, and comes first.
func TestListRates(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		r.crowd(3)
		busy := r.dial()
		const piece, every = 20_000, 10 * time.Millisecond
		stop, sent := make(chan struct{}), make(chan error, 1)
		go func() {
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			buffer := make([]byte, piece)
			for {
				select {
				case <-stop:
					sent <- nil
					return
				case <-ticker.C:
				}
				_, err := busy.Write(buffer)
				if err == nil {
					_, err = io.ReadFull(busy, buffer)
				}
				if err != nil {
					sent <- err
					return
				}
			}
		}()
		const want = float64(piece) * float64(time.Second/every)
		var first proxy.ConnInfo
		if !testnet.Within(testnet.Patience, func() bool {
			all := r.list(proxy.ConnQuery{Sort: proxy.SortRate})
			first = all[0]
			// The machine may be busy: the sender is then slower, never faster.
			return len(all) == 4 && first.Client.Port() == port(busy) && first.RateIn > want/4 && first.RateIn < want*2 && first.RateOut > want/4
		}) {
			t.Errorf("the busiest one is %+v, want %.0f bytes per second", first, want)
		}
		close(stop)
		if err := <-sent; err != nil {
			t.Error(err)
		}
		testnet.Eventually(t, "all rates are 0", func() bool {
			return !slices.ContainsFunc(r.list(proxy.ConnQuery{}), func(c proxy.ConnInfo) bool { return c.RateIn+c.RateOut > 0 })
		})
	})
}

// TestListDuringHandOver: while connections move to another server, each is listed at most once by
// each server, and afterwards all are listed by the other one.
func TestListDuringHandOver(t *testing.T) {
	enginePairsTogether(t, func(t *testing.T, from, to string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		one, two := start(t, from, addresses(b)), start(t, to, addresses(b))
		clients := one.crowd(200)
		done := make(chan struct{})
		go func() {
			defer close(done)
			one.handOver(two)
		}()
		for moving := true; moving; {
			select {
			case <-done:
				moving = false
			default:
			}
			for _, r := range []*running{one, two} {
				shown := make(map[string]bool)
				for _, c := range r.list(proxy.ConnQuery{Limit: 50, Hurry: true}) {
					if shown[c.ID] || c.State == proxy.ConnClosing {
						t.Errorf("%+v was shown before", c)
					}
					shown[c.ID] = true
				}
			}
		}
		one.listed(0, proxy.ConnFilter{})
		two.listed(200, proxy.ConnFilter{})
		for _, c := range clients {
			mustAsk(t, c, "moved")
		}
	})
}

// TestListStopped: a server that has stopped answers with an error.
func TestListStopped(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		c := r.dial()
		waits := make(chan error, 1)
		mustAsk(t, c, "its rate is not known yet")
		go func() {
			_, err := r.server.ListConnections(context.Background(), proxy.ConnQuery{Sort: proxy.SortRate, Limit: 1})
			waits <- err
		}()
		r.server.Stop()
		if err := <-waits; err == nil { // it was faster, or its rate was known
			t.Log("a list was answered while the server stopped")
		}
		if page, err := r.server.ListConnections(t.Context(), proxy.ConnQuery{Limit: 1}); err == nil {
			t.Errorf("%+v", page)
		}
		if result, err := r.server.Kill(t.Context(), proxy.Kill{}); err == nil {
			t.Errorf("%+v", result)
		}
	})
}
