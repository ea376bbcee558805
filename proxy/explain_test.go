package proxy_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"

	"l4proxy/acl"
	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// explain asks about a client at the first listener.
func (r *running) explain(client string) *proxy.Explanation {
	r.t.Helper()
	e, ok := r.server.Explain(r.t.Context(), r.state.Listeners[0], netip.MustParseAddr(client), nil, 100)
	if !ok {
		r.t.Fatal("no explanation")
	}
	return e
}

// recordOf waits for the record of a client.
func (r *running) recordOf(c testnet.Conn) (found proxy.Record) {
	r.t.Helper()
	testnet.Eventually(r.t, "the client has a record", func() bool {
		for _, record := range r.records.all() {
			if record.Client.String() == c.LocalAddr().String() {
				found = record
				return true
			}
		}
		return false
	})
	return found
}

// TestExplainIsWhatHappens: for each policy that does not draw, and in many states of the pool, the
// client is dialed to the backend that the explanation names first, or gets no backend when it says
// so.
func TestExplainIsWhatHappens(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		var backends []*testnet.Backend
		for range 4 {
			backends = append(backends, testnet.Serve(t, "tcp", "", testnet.Echo))
		}
		for _, policy := range []string{"first", "least_conn", "maglev", "round_robin", "source_hash"} {
			t.Run(policy, func(t *testing.T) {
				r := start(t, engine, addresses(backends...), func(s *setup) {
					s.policy, s.weights = policy, []int{1, 2, 1, 3}
					s.members = func(m []balancer.Member) { m[3].Priority, m[0].MaxConnections = 1, 2 }
				})
				random := rand.New(rand.NewPCG(1, 2))
				members := r.pool.Balancer.Members()
				fates := make(map[testnet.Conn]*proxy.Explanation) // of open clients
				for n := range 40 {
					now := rawsys.Monotonic()
					b := members[random.IntN(len(members))].Backend
					switch random.IntN(6) {
					case 0:
						r.pool.Balancer.SetAdmin(b, backend.AdminDrain, now)
					case 1, 2:
						r.pool.Balancer.SetAdmin(b, backend.AdminUp, now)
					case 3:
						r.pool.Balancer.SetHealth(b, backend.HealthDown, now)
					case 4:
						r.pool.Balancer.SetHealth(b, backend.HealthUp, now)
					case 5:
						r.pool.Balancer.Failed(b, now, now)
					}
					from := fmt.Sprintf("127.0.0.%d", 2+random.IntN(50))
					e := r.explain(from)
					c := testnet.DialFrom(t, from, r.addr)
					if e.Fate == proxy.FateServed {
						if _, err := c.Write([]byte("x")); err != nil {
							t.Fatal(err)
						}
						if _, err := c.Read(make([]byte, 1)); err != nil {
							t.Fatal(err)
						}
						fates[c] = e
						if len(fates) < 5 {
							continue
						}
						for c = range fates { // any
							break
						}
						e = fates[c]
						delete(fates, c)
						c.Close()
					}
					record := r.recordOf(c)
					c.Close()
					served := e.Fate == proxy.FateServed && record.Backend == e.Preview.Order[0].Backend
					refused := e.Fate == proxy.FateRefused && record.Reason == e.Reason && record.Backend == nil
					if !served && !refused {
						t.Fatalf("%d. %v %v, and it was served by %v and ended with %v: %+v", n, e.Fate, e.Reason, record.Backend, record.Reason, e.Preview)
					}
				}
			})
		}
	})
}

// TestExplainDenied: a denied client gets what the explanation says.
func TestExplainDenied(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, with := range []acl.Action{acl.Message, acl.Close, acl.Reset} {
			r, _ := denied(t, engine, with)
			e := r.explain("127.0.0.1")
			if e.Fate != proxy.FateDenied || e.Reason != proxy.ReasonDenied || e.ACL.Action != with ||
				e.ACL.Rule != 2 || e.ACL.Name != "deny[1]" || e.ACL.Prefix != netip.MustParsePrefix("127.0.0.0/8") {
				t.Errorf("%+v", e)
			}
			c, err := testnet.TryDial("tcp", r.addr)
			var got []byte
			if err == nil { // otherwise the reset was faster
				got, err = io.ReadAll(c)
				c.Close()
			}
			switch {
			case with == acl.Message && string(got) != denyText, with == acl.Close && (len(got) != 0 || err != nil), with == acl.Reset && err == nil:
				t.Errorf("%v: the client reads %q, %v", with, got, err)
			}
			if e := r.explain("::ffff:127.0.0.2"); e.Fate != proxy.FateServed || e.ACL.Name != "allow[0]" || e.Client.String() != "127.0.0.2" {
				t.Errorf("%+v", e)
			}
			if e := r.explain("192.0.2.1"); e.Fate != proxy.FateDenied || e.ACL.Rule != 0 {
				t.Errorf("by default: %+v", e)
			}
		}
	})
}

// TestExplainLimits: full slots, full backends and a full queue are explained as clients find them,
// and so are closed listeners.
func TestExplainLimits(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), queueing(1, 1, testnet.Patience), func(s *setup) {
			s.listener.Slots = proxy.NewSlots(3)
			s.listener.NoBackend = proxy.QueueClient
		})
		expect := func(fate proxy.Fate, reason proxy.Reason) {
			t.Helper()
			if e := r.explain("127.0.0.1"); e.Fate != fate || e.Reason != reason {
				t.Errorf("%v %v, want %v %v", e.Fate, e.Reason, fate, reason)
			}
		}
		echoes := func() testnet.Conn {
			c := r.dial()
			testnet.Eventually(t, "the client has a slot", func() bool { return r.server.Connections() > 0 })
			return c
		}
		expect(proxy.FateServed, proxy.ReasonNone)
		served := echoes()
		testnet.Eventually(t, "it is dialed", func() bool { return r.pool.Balancer.Members()[0].Active() == 1 })
		expect(proxy.FateQueued, proxy.ReasonNone)
		waits := echoes()
		r.waiting(1)
		expect(proxy.FateRefused, proxy.ReasonQueueFull)
		r.state.Listeners[0].Slots.SetLimit(2)
		expect(proxy.FateWaits, proxy.ReasonNone)
		r.state.Listeners[0].Slots.SetLimit(0)
		waits.Close()
		served.Close()
		testnet.Eventually(t, "they have ended", func() bool { return r.server.Connections() == 0 })

		member := r.pool.Balancer.Members()[0].Backend
		r.pool.Balancer.SetHealth(member, backend.HealthDown, rawsys.Monotonic())
		expect(proxy.FateQueued, proxy.ReasonNone) // for any
		r.server.SetListening(r.state.Listeners[0], false)
		expect(proxy.FateRefused, proxy.ReasonNoBackend)
		r.server.DrainListener("front", true)
		expect(proxy.FateRefused, proxy.ReasonDrained)
		if c, err := testnet.TryDial("tcp", r.addr); err == nil {
			c.Close()
			t.Error("the kernel accepts a client of a closed listener")
		}
		r.server.DrainListener("front", false)
		r.server.SetListening(r.state.Listeners[0], true)
		if err := r.server.PauseAccepting(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect(proxy.FateWaits, proxy.ReasonNone)
		r.server.ResumeAccepting()
		expect(proxy.FateQueued, proxy.ReasonNone)
	})
}
