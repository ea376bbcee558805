package proxy

import (
	"context"
	"net/netip"
	"time"

	"l4proxy/acl"
	"l4proxy/balancer"
	"l4proxy/bans"
	"l4proxy/clienthello"
	"l4proxy/clientlimit"
	"l4proxy/internal/rawsys"
)

// Explanation is what would happen to a client that connects now, step by step as in life.go.
type Explanation struct {
	Listener *Listener
	Client   netip.Addr
	Door     Door
	// Ban is the ban of the client's address, nil if it is not banned. BanLeft is how long it
	// lasts, 0 without an end, and BanAge how long ago it was set.
	Ban             *bans.Ban
	BanLeft, BanAge time.Duration
	// BanAction is what a banned client sees.
	BanAction acl.Action
	ACL       acl.Explanation
	// Shadows are the shadow rules that the client meets.
	Shadows []acl.Decision
	// Process, Shared and Own are the connection slots: of the process, those that listeners share
	// beyond what is reserved for each, and those of the listener. Room is how many connections
	// more the listener may have.
	Process, Shared, Own Usage
	Room                 int
	// PerClient is how much of its limits the client uses; nil if no limits apply to it.
	PerClient *clientlimit.Usage
	// Short says that admitted clients wait for a descriptor, so that no client is accepted.
	Short bool
	// Reads says that the client has to send something before its pool is known. Route is the index
	// of the route that takes it, or [route.None].
	Reads bool
	Route int
	// Header says that peers of this address have to send a PROXY protocol header: the address in
	// it decides about the client.
	Header bool
	Pool   *Pool // nil if no pool takes the client
	// Preview is the order of the backends, that of a denied client too; nil without a pool.
	Preview *balancer.Preview
	// Fate is what becomes of the client, and Reason why, if it is not served.
	Fate   Fate
	Reason Reason
}

// Usage is how much of a limit is in use.
type Usage struct {
	Used, Limit int64 // Limit is 0 if there is none
}

// Fate is what becomes of a client.
type Fate uint8

// The fates. A client that waits is in the kernel's queue, or has been accepted beyond a limit.
const (
	FateServed  Fate = iota // a backend is dialed for it
	FateQueued              // it waits in the pool's queue
	FateWaits               // for a free connection slot, or until accepting continues
	FateDenied              // by the access control list, or by a limit of each client
	FateRefused             // as when_no_backend says, or by the kernel
)

var fateNames = [...]string{"served", "queued", "waits", "denied", "refused"}

func (f Fate) String() string { return fateNames[f] }

// Door is the state of a listener's sockets, those of a network: TCP, or unix sockets for a client
// without an address.
type Door struct {
	Sockets int // of all loops
	// Closed is how many are closed for good, Drained and Unlistened how many are closed because
	// the listener is drained, or no backend can serve. Paused ones accept no clients for a moment,
	// because another process takes over or because accepting has failed.
	Closed, Drained, Unlistened, Paused int
	// Parked clients were accepted beyond a limit, and wait for a slot.
	Parked int
}

// add adds the sockets of another loop.
func (d *Door) add(o Door) {
	d.Sockets += o.Sockets
	d.Closed += o.Closed
	d.Drained += o.Drained
	d.Unlistened += o.Unlistened
	d.Paused += o.Paused
	d.Parked += o.Parked
}

// Explain follows a client of a listener through the steps of the data plane, by the same functions
// and at most a number of backends, and changes nothing. The zero Addr is a client on a unix
// socket. ok is false if a loop has ended or ctx is done first.
//
// hello is what the client sends first; it counts only if the listener has routes.
func (s *Server) Explain(ctx context.Context, l *Listener, client netip.Addr, hello *clienthello.Hello, most int) (e *Explanation, ok bool) {
	client = client.Unmap()
	doors, ok := askUntil(ctx, s, func(w *worker) Door { return w.door(l.Name, !client.IsValid()) })
	if !ok {
		return nil, false
	}
	e = &Explanation{
		Listener: l,
		Client:   client,
		ACL:      l.ACL.Explain(client),
		Process:  s.slots.all.usage(),
		Shared:   s.slots.common.usage(),
		Room:     s.slots.room(l.Slots),
		Short:    s.retrying.Load() > 0,
		Reads:    l.readsFirst(),
		Route:    l.Routes.Find(hello),
		Pool:     l.route(hello),
	}
	e.Header = l.ProxyFrom.Has(client)
	e.findBan(s)
	for at := int32(0); l.ACL.Shadows(); {
		shadow, more := l.ACL.NextShadow(client, at, e.ACL.Decision.Rule)
		if !more {
			break
		}
		at = shadow.Rule
		e.Shadows = append(e.Shadows, shadow)
	}
	if l.Slots != nil {
		e.Own = l.Slots.usage()
	}
	if l.Clients != nil && client.IsValid() {
		e.PerClient = new(l.Clients.Explain(client, s.now()))
	}
	for _, d := range doors {
		e.Door.add(d)
	}
	if e.Pool != nil {
		r := balancer.Request{Now: s.now(), Client: client}
		if l.mayWait(e.Pool, &r) {
			r.Waiter = new(ticket) // says that it would; it is never called
		}
		e.Preview = e.Pool.Balancer.Preview(r, most)
	}
	e.Fate, e.Reason = e.fate()
	return e, true
}

// fate is the first step that does not let the client pass, or the last one.
func (e *Explanation) fate() (Fate, Reason) {
	d := &e.Door
	unix := !e.Client.IsValid()
	switch {
	case d.Sockets == d.Closed, !unix && d.Sockets == d.Closed+d.Drained:
		return FateRefused, ReasonDrained
	case d.Sockets == d.Closed+d.Drained+d.Unlistened && d.Unlistened > 0:
		return FateRefused, ReasonNoBackend
	case d.Sockets == d.Closed+d.Drained+d.Unlistened+d.Paused && d.Paused > 0:
		return FateWaits, ReasonNone
	case e.Ban != nil:
		return FateDenied, ReasonBanned
	case !e.ACL.Allow:
		return FateDenied, ReasonDenied
	case e.PerClient != nil && e.PerClient.Verdict == clientlimit.OverConnections:
		return FateDenied, ReasonClientConnections
	case e.PerClient != nil && e.PerClient.Verdict == clientlimit.OverRate:
		return FateDenied, ReasonClientRate
	case d.Drained > 0 && unix:
		return FateRefused, ReasonDrained
	case e.Room == 0 || e.Short:
		return FateWaits, ReasonNone
	case e.Pool == nil:
		return FateRefused, ReasonNoRoute
	}
	switch e.Preview.Verdict {
	case balancer.Waiting:
		return FateQueued, ReasonNone
	case balancer.QueueFull:
		return FateRefused, ReasonQueueFull
	case balancer.NoBackend:
		return FateRefused, ReasonNoBackend
	}
	return FateServed, ReasonNone
}

// door is the state of the listener's sockets on this loop.
func (w *worker) door(listener string, unix bool) (d Door) {
	for _, s := range w.sockets {
		if s.listener.Name != listener || s.state == listenClosed || rawsys.IsUnix(s.fd) != unix {
			continue
		}
		d.Sockets++
		d.Parked += len(s.parked)
		switch s.state {
		case listenClosing:
			d.Closed++
		case listenShutting, listenShut:
			if w.shut[listener]&shutDrain != 0 {
				d.Drained++
			} else {
				d.Unlistened++
			}
		case listenPaused, listenReopening, listenHolding, listenHeld:
			d.Paused++
		case listenNew, listenAccepting, listenFull:
			if s.refuses() {
				d.Drained++
			}
		case listenClosed:
		}
	}
	return d
}

func (s *Slots) usage() Usage { return Usage{Used: max(0, s.Used()), Limit: s.Limit()} }

// now is the time on the clock of the loops.
func (s *Server) now() int64 {
	if s.clock != nil {
		return s.clock()
	}
	return rawsys.Monotonic()
}
