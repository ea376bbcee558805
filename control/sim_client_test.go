package control

import (
	"net/netip"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
)

// simClient is a client's life as the data plane leads it: proxy/dial.go, queue.go and hedge.go.
type simClient struct {
	addr      netip.Addr
	tried     []*backend.Backend
	attempts  int
	waited    bool // in the queue, at some time
	waitUntil int64
	ticket    *simTicket // while it waits
	dial      *simDial   // the present one, or its connection
	rival     *simDial   // beside it
	gone      bool
}

// simDial is an attempt, and the connection that may come of it. It is counted on its backend until
// it is over.
type simDial struct {
	client    *simClient
	backend   *backend.Backend
	began     int64
	asked     int64 // when the client began to wait for a byte
	withdrawn bool  // another dial was faster
	relaying  bool
	answered  bool // with a byte
	over      bool
}

// simTicket is a client's position in the queue.
type simTicket struct {
	s      *simulation
	client *simClient
	again  bool // the client has had its turn before
	// pausing: a backend that this client has tried may be free, if its dial failed without a
	// verdict. The next tick, at the latest, tries it again.
	pausing bool
}

// arrive is a new client.
func (s *simulation) arrive() *simClient {
	c := &simClient{addr: s.anyClient()}
	s.clients++
	if s.clumsy && !s.mended && s.chance(0.1) {
		s.loop.after(s.around(s.connectTimeout), func() { s.leave(c) })
	}
	s.pick(c, simRequest{})
	return c
}

// anyClient is the address of one of many clients.
func (s *simulation) anyClient() netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(s.rand.UintN(4)), byte(s.rand.UintN(256))})
}

// ask asks the balancer, and the twin follows.
func (s *simulation) ask(c *simClient, r *simRequest, k *simTicket) (*simDial, balancer.Verdict) {
	request := balancer.Request{
		Now: s.loop.now, Client: c.addr, Tried: r.tried, OnlyAvailable: r.onlyAvailable, WaitForAny: r.any, Again: r.again,
	}
	if r.waits {
		request.Waiter = k
	}
	if r.beside != nil {
		request.Beside = r.beside.real.Backend
	}
	b, verdict := s.balancer.Pick(request)
	s.judge(r, b, verdict)
	switch verdict {
	case balancer.Picked:
		return s.take(c, b), verdict
	case balancer.Waiting:
		s.twin.enqueue(k, r.again)
	}
	return nil, verdict
}

func (s *simulation) take(c *simClient, b *backend.Backend) *simDial {
	d := &simDial{client: c, backend: b, began: s.loop.now}
	s.twin.take(s.twin.of(b), d, s.loop.now)
	return d
}

// pick looks for a backend.
func (s *simulation) pick(c *simClient, r simRequest) {
	r.waits = s.queueTimeout > 0 && s.options.Queue > 0
	r.any = r.waits && s.waitForAny
	r.again = r.waits && c.waited
	k := &simTicket{s: s, client: c, again: r.again, pausing: len(r.tried) > 0}
	d, verdict := s.ask(c, &r, k)
	if s.tracing {
		s.trace("client %s, tried %d, again %t, only available %t: verdict %d%s", c.addr, len(r.tried), r.again,
			r.onlyAvailable, verdict, named(d))
	}
	switch verdict {
	case balancer.Picked:
		s.connect(c, d)
	case balancer.Waiting:
		s.happened("waited")
		c.ticket, c.tried, c.waited = k, nil, true
		if c.waitUntil == 0 {
			c.waitUntil = s.loop.now + int64(s.queueTimeout)
		}
		s.loop.at(c.waitUntil, func() {
			if c.ticket == k {
				s.leave(c)
			}
		})
	case balancer.QueueFull:
		s.happened("found the queue full")
		s.gone(c)
	case balancer.NoBackend:
		s.happened("found no backend")
		s.gone(c)
	}
}

// Granted implements [balancer.Waiter]. It is called while the balancer delivers what it has done,
// so the client acts on it later.
func (k *simTicket) Granted(b *backend.Backend) {
	s := k.s
	if len(s.twin.queue) == 0 || s.twin.queue[0] != k {
		s.violated(ruleQueue, "%s was given to client %s, which is not the first to wait: %s", b.Address, k.client.addr, s)
	}
	s.judgePick(&simRequest{waits: true, again: k.again, granted: true}, s.twin.of(b))
	s.happened("granted")
	s.twin.leave(k)
	d := s.take(k.client, b)
	if s.tracing {
		s.trace("client %s has waited: %s", k.client.addr, b.Address)
	}
	s.loop.after(s.between(0, 10*time.Millisecond), func() {
		if k.client.ticket != k {
			s.happened("granted to a client that had left")
			s.done(d)
			return
		}
		k.client.ticket = nil
		s.connect(k.client, d)
	})
}

// leave is reached when a client has waited for too long, or has lost patience.
func (s *simulation) leave(c *simClient) {
	if c.gone {
		return
	}
	if c.ticket != nil {
		s.happened("left the queue")
		if was, is := s.twin.leave(c.ticket), s.balancer.Leave(c.ticket); was != is {
			s.violated(ruleQueue, "Leave reports %t: %s", is, s)
		}
		c.ticket = nil
	}
	s.withdraw(c.rival)
	c.rival = nil
	if c.dial != nil {
		s.done(c.dial)
	}
	s.gone(c)
}

func (s *simulation) gone(c *simClient) {
	c.gone = true
	c.dial = nil
	s.clients--
}

// dialFailed continues with the next backend. When all attempts have failed, there is something to
// wait for if it was the backend's fault.
func (s *simulation) dialFailed(c *simClient, d *simDial, fault bool) {
	s.done(d)
	c.dial = nil
	c.tried = append(c.tried, d.backend)
	switch {
	case len(c.tried) < s.attempts:
		s.pick(c, simRequest{tried: c.tried})
	case s.waitForAny && fault:
		s.pick(c, simRequest{onlyAvailable: true})
	default:
		s.happened("failed on all")
		s.gone(c)
	}
}
