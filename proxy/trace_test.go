package proxy_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/acl"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// stepped keeps the steps of traced connections.
type stepped struct {
	mu    sync.Mutex
	steps []proxy.Step
}

func (s *stepped) add(step *proxy.Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, *step)
}

// stepping passes the steps of a proxy to s.
func (s *stepped) stepping(set *setup) { set.options.Step = s.add }

// of are the steps of a client in words, once one of them is last.
func (s *stepped) of(t *testing.T, client net.Conn, last string) string {
	t.Helper()
	var words []string
	testnet.Eventually(t, "the step "+last+" of "+client.LocalAddr().String(), func() bool {
		words = nil
		s.mu.Lock()
		defer s.mu.Unlock()
		trace := uint64(0)
		for _, step := range s.steps {
			if step.Client.String() != client.LocalAddr().String() {
				continue
			}
			if trace == 0 {
				trace = step.Trace
			}
			if step.Trace != trace {
				t.Fatalf("the steps of one connection have the numbers %d and %d", trace, step.Trace)
			}
			words = append(words, inWords(&step))
		}
		return len(words) > 0 && strings.HasPrefix(words[len(words)-1], last)
	})
	return strings.Join(words, "; ")
}

// inWords leaves out what depends on chance.
func inWords(s *proxy.Step) string {
	text := s.Kind.String()
	if s.Side != proxy.SideNone {
		text += " " + s.Side.String()
	}
	if s.Reason != proxy.ReasonNone {
		text += " " + s.Reason.String()
	}
	return text
}

// quiet is what all clients of one address have done: none was traced.
func (s *stepped) quiet(t *testing.T, client string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, step := range s.steps {
		if step.Client.Addr().String() == client {
			t.Errorf("a step of %s: %+v", client, step)
		}
	}
}

// echo sends a byte and waits for its echo.
func echo(t *testing.T, c testnet.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func (r *running) trace(listener, from string) {
	r.t.Helper()
	f := proxy.TraceFilter{Listener: listener}
	if from != "" {
		f.From = netip.MustParsePrefix(from)
	}
	if err := r.server.Trace(f, time.Now().Add(time.Hour)); err != nil {
		r.t.Fatal(err)
	}
}

const served = "routed; dialing; connected; first byte client; first byte backend; "

// TestTraceFollowsOneClient: every step of its connections, and none of others.
func TestTraceFollowsOneClient(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		var s stepped
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), s.stepping, rules(false,
			acl.Rule{Name: "deny[0]", Prefixes: prefixes("127.0.0.7/32")},
			acl.Rule{Name: "allow[1]", Allow: true, Prefixes: prefixes("127.0.0.0/8")}))
		talk := func(from string) testnet.Conn {
			c := testnet.DialFrom(t, from, r.addr)
			for range 3 {
				echo(t, c)
			}
			return c
		}
		r.trace("", "::ffff:127.0.0.5/128")
		r.trace("", "127.0.0.7/32")
		r.trace("other", "127.0.0.6/32")
		followed, other, denied := talk("127.0.0.5"), talk("127.0.0.6"), testnet.DialFrom(t, "127.0.0.7", r.addr)
		_ = followed.CloseWrite()
		other.Close()
		if _, err := io.ReadAll(followed); err != nil {
			t.Fatal(err)
		}
		followed.Close()
		if got, want := s.of(t, followed, "ended"), "accepted; allowed; slot taken; "+served+"fin client; fin backend; ended client closed"; strings.Replace(got, "moved to another loop; ", "", 1) != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		if _, err := io.ReadAll(denied); err != nil {
			t.Fatal(err)
		}
		denied.Close()
		if got, want := s.of(t, denied, "ended"), "accepted; denied; turned away denied; ended proxy denied"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		r.ended(3)
		s.quiet(t, "127.0.0.6")
		for _, step := range s.steps {
			if step.Listener.Name != "front" || step.Kind == proxy.StepEnded && step.Reason == proxy.ReasonClosed && (step.BytesIn != 3 || step.BytesOut != 3) ||
				step.Kind == proxy.StepDenied && (step.Rule != "deny[0]" || step.Prefix != netip.MustParsePrefix("127.0.0.7/32")) ||
				step.Kind == proxy.StepConnected && (step.Backend.Address != b.Addr || step.Took <= 0) {
				t.Errorf("%+v", step)
			}
		}
		if all := r.server.Traces(); len(all) != 3 || all[0].Connections != 1 || all[2].Connections != 0 {
			t.Errorf("%+v", all)
		}
		// Once it is stopped, no step follows, also of open connections.
		open := talk("127.0.0.5")
		s.of(t, open, "first byte backend")
		if n := r.server.StopTraces(nil); n != 3 {
			t.Errorf("%d traces stopped", n)
		}
		open.Close()
		r.ended(4)
		if got := s.of(t, open, ""); strings.Contains(got, "fin") {
			t.Error(got)
		}
	})
}

// TestTraceOfTroubles: the steps of clients that are not served at once, or at all.
func TestTraceOfTroubles(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		t.Run("refused", func(t *testing.T) {
			var s stepped
			b := testnet.Serve(t, "tcp", "", testnet.Echo)
			r := start(t, engine, []string{testnet.Refusing(t), b.Addr}, s.stepping, func(s *setup) { s.policy = "first" })
			r.trace("front", "")
			c := r.dial()
			_ = c.CloseWrite()
			_, _ = io.ReadAll(c)
			c.Close()
			if got, want := s.of(t, c, "ended"), "routed; dialing; dial failed connect_refused; dialing; connected; fin"; !strings.Contains(got, want) {
				t.Errorf("%s\nwant %s", got, want)
			}
		})
		t.Run("queued, parked and reset", func(t *testing.T) {
			var s stepped
			b := testnet.Listen(t, "tcp", "")
			r := start(t, engine, addresses(b), s.stepping, queueing(1, 10, testnet.Patience))
			r.trace("", "127.0.0.0/8")
			first := r.dial()
			peer := b.Accept(t)
			second := r.dial()
			s.of(t, second, "queued")
			if err := testnet.Reset(first); err != nil {
				t.Fatal(err)
			}
			if got := s.of(t, first, "ended"); !strings.HasSuffix(got, "connected; reset client; ended client reset") {
				t.Error(got)
			}
			peer.Close()
			peer = b.Accept(t)
			if got := s.of(t, second, "connected"); !strings.HasSuffix(got, "routed; queued; granted; dialing; connected") {
				t.Error(got)
			}
			if err := testnet.Reset(peer); err != nil {
				t.Fatal(err)
			}
			if got := s.of(t, second, "ended"); !strings.HasSuffix(got, "reset backend; ended backend reset") {
				t.Error(got)
			}
		})
		t.Run("hedged", func(t *testing.T) {
			var s stepped
			b := testnet.Serve(t, "tcp", "", testnet.Echo)
			r := start(t, engine, []string{testnet.Silent(t), b.Addr}, s.stepping, func(s *setup) {
				s.policy = "first"
				s.pooled = func(p *proxy.Pool) { p.Hedge = 5 * time.Millisecond }
			})
			r.trace("", "127.0.0.1/32")
			c := r.dial()
			if got := s.of(t, c, "connected"); !strings.Contains(got, "dialing; dialing beside; dial failed backend connect_timeout; connected") &&
				!strings.Contains(got, "dialing; dialing beside; dial failed connect_timeout; connected") {
				t.Error(got)
			}
		})
		t.Run("idle", func(t *testing.T) {
			var s stepped
			b := testnet.Serve(t, "tcp", "", testnet.Echo)
			r := start(t, engine, addresses(b), s.stepping, func(s *setup) { s.listener.Idle = 10 * time.Millisecond })
			r.server.TraceAll(true)
			c := r.dial()
			if got := s.of(t, c, "ended"); !strings.HasSuffix(got, "connected; ended proxy idle_timeout") {
				t.Error(got)
			}
		})
	})
}

// TestTraceOfOpenConnections: a trace follows connections that are open already, too.
func TestTraceOfOpenConnections(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		var s stepped
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), s.stepping)
		c, other := testnet.DialFrom(t, "127.0.0.5", r.addr), testnet.DialFrom(t, "127.0.0.6", r.addr)
		echo(t, c)
		echo(t, other)
		r.trace("", "127.0.0.5/32")
		s.of(t, c, "open already")
		_ = c.CloseWrite()
		_ = other.CloseWrite()
		if got := s.of(t, c, "ended"); got != "open already; fin client; fin backend; ended client closed" {
			t.Error(got)
		}
		r.ended(2)
		s.quiet(t, "127.0.0.6")
		// All of them.
		c = r.dial()
		echo(t, c)
		r.server.TraceAll(true)
		s.of(t, c, "open already")
		r.server.TraceAll(false)
		c.Close()
		r.ended(3)
		if got := s.of(t, c, ""); got != "open already" {
			t.Error(got)
		}
	})
}

// TestTraceGoesOn: a trace that is set again, for longer, follows the connections that it followed
// before.
func TestTraceGoesOn(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		var s stepped
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), s.stepping)
		r.trace("", "127.0.0.5/32")
		c := testnet.DialFrom(t, "127.0.0.5", r.addr)
		echo(t, c)
		s.of(t, c, "first byte backend")
		r.trace("", "127.0.0.5/32") // for longer
		s.of(t, c, "open already")
		c.Close()
		if got := s.of(t, c, "ended"); !strings.Contains(got, "first byte backend; open already; ") {
			t.Error(got)
		}
	})
}

// TestTracesAreBounded in number, in time and in what they follow.
func TestTracesAreBounded(t *testing.T) {
	var s stepped
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	r := start(t, "epoll", addresses(b), s.stepping, func(s *setup) { s.options.Workers = 1 })
	r.trace("", "")
	const clients = 200
	for range clients {
		c := r.dial()
		_ = c.CloseWrite()
		_, _ = io.ReadAll(c)
		c.Close()
	}
	r.ended(clients)
	all := r.server.Traces()
	if len(all) != 1 || all[0].LeftOut == 0 || all[0].Connections+all[0].LeftOut != clients {
		t.Errorf("%+v of %d", all, clients)
	}

	for i := range 15 {
		r.trace("front", netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32).String())
	}
	r.trace("front", "10.0.0.3/32") // in place of the one before
	err := r.server.Trace(proxy.TraceFilter{Listener: "one too many"}, time.Now().Add(time.Hour))
	if !errors.Is(err, proxy.ErrTooManyTraces) || len(r.server.Traces()) != 16 {
		t.Errorf("%v, %d traces", err, len(r.server.Traces()))
	}
	if n := r.server.StopTraces(&proxy.TraceFilter{Listener: "front", From: netip.MustParsePrefix("10.0.0.7/32")}); n != 1 {
		t.Errorf("%d stopped", n)
	}
	if err := r.server.Trace(proxy.TraceFilter{Listener: "soon over"}, time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	testnet.Eventually(t, "a trace ends", func() bool {
		return !slices.ContainsFunc(r.server.Traces(), func(i proxy.TraceInfo) bool { return i.Listener == "soon over" })
	})
}

// TestTraceMoves: a connection that moves to another process keeps its number there.
func TestTraceMoves(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		var s, s2 stepped
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		one := start(t, engine, addresses(b), s.stepping)
		two := start(t, engine, addresses(b), s2.stepping)
		for _, r := range []*running{one, two} {
			r.trace("", "127.0.0.5/32")
		}
		c, other := testnet.DialFrom(t, "127.0.0.5", one.addr), testnet.DialFrom(t, "127.0.0.6", one.addr)
		testnet.Eventually(t, "they are served", func() bool { return b.Accepted() == 2 })
		one.handOver(two)
		if got := s.of(t, c, "moved to another process"); !strings.HasSuffix(got, "connected; moved to another process") {
			t.Error(got)
		}
		echo(t, c)
		_ = c.CloseWrite()
		_, _ = io.ReadAll(c)
		other.Close()
		if got := s2.of(t, c, "ended"); got != "taken over; first byte client; first byte backend; fin client; fin backend; ended client closed" {
			t.Error(got)
		}
		two.ended(2)
		s2.quiet(t, "127.0.0.6")
		if s.steps[0].Trace != s2.steps[0].Trace {
			t.Errorf("it has the numbers %d and %d", s.steps[0].Trace, s2.steps[0].Trace)
		}
	})
}

// TestSlowStepsHoldNoConnectionUp: while Step blocks, clients are served. Steps that find no room
// are counted.
func TestSlowStepsHoldNoConnectionUp(t *testing.T) {
	var s stepped
	var lost atomic.Uint64
	release := make(chan struct{})
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	r := start(t, "epoll", addresses(b), func(s2 *setup) {
		s2.options.Workers = 1
		s2.options.Step = func(step *proxy.Step) { <-release; s.add(step) }
		s2.options.Lost = func(n uint64) { lost.Add(n) }
	})
	r.server.TraceAll(true)
	const clients = 300
	for range clients {
		c := r.dial()
		echo(t, c)
		c.Close()
	}
	testnet.Eventually(t, "all connections have ended", func() bool { return r.server.Connections() == 0 })
	close(release)
	r.ended(clients)
	testnet.Eventually(t, "lost steps are reported", func() bool { return lost.Load() > 0 })
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := 0
	for _, step := range s.steps {
		if step.Kind == proxy.StepEnded {
			ended++
		}
	}
	// Each has accepted, slot taken, routed, dialing, connected, two first bytes, two ends, ended.
	if all := len(s.steps) + int(lost.Load()); all != 10*clients || ended == 0 {
		t.Errorf("%d steps passed on and %d lost, want %d in all", len(s.steps), lost.Load(), 10*clients)
	}
}
