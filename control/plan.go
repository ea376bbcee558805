package control

import (
	"net/netip"
	"slices"
	"time"

	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/health"
	"l4proxy/internal/rawsys"
	"l4proxy/proxy"
)

// Plan is what a configuration asks for. It is plain values: every word and address has been read,
// and nothing in it is live.
type Plan struct {
	Listeners []ListenerPlan
	Pools     []PoolPlan
	Admin     *AdminPlan // nil: no admin address
	Identity  *Identity  // who to run as; nil stays the same
	Lists     Lists
}

// ListenerPlan is one listener.
type ListenerPlan struct {
	proxy.Listener // without Pool, RoutePools, Slots and Clients, which are live
	// PoolName is "" if only routes lead to pools; RoutePoolNames are theirs, by the index of the
	// route.
	PoolName       string
	RoutePoolNames []string
	// MaxConnections is the limit of its slots; 0 means none.
	MaxConnections int64
	// PerClient are the limits of each client; nil means none.
	PerClient *ClientsPlan
	// Follows says that it is closed while no backend of its pool can serve.
	Follows bool
}

// poolNames are the pools to which the listener may send clients, each once.
func (l *ListenerPlan) poolNames() []string {
	names := slices.Clone(l.RoutePoolNames)
	if l.PoolName != "" {
		names = append(names, l.PoolName)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// PoolPlan is one pool.
type PoolPlan struct {
	proxy.Pool // without Balancer and Hedges, which are live
	Options    balancer.Options
	// Entries are the configured backends. They decide Members.
	Entries []EntryPlan
	Members []MemberPlan
	// Checks are how the members are checked; nil means not at all. There is a target for each
	// member, in the same order.
	Checks *health.Group
	Rules  Rules
	// Guard limits what SetEndpoints may remove.
	Guard Guard
}

// MemberPlan is a backend in a pool.
type MemberPlan struct {
	balancer.Member // without Backend, which is live
	Key             BackendKey
	Name            string // in the log: the address as configured; for a name, its Endpoint
	Sockaddr        *rawsys.Sockaddr
}

// BackendKey identifies a backend within its pool. A name that resolves to another address is
// another backend. An Endpoint has one backend, whichever entry it comes from.
type BackendKey struct {
	Address  string // as configured
	Endpoint Endpoint
}

// Endpoint is the address of a server, with its name resolved.
type Endpoint struct {
	Path string // of a unix socket; "" for TCP
	TCP  netip.AddrPort
}

// Rules say how a [Watch] treats the connections of a pool.
type Rules struct {
	// OnDown applies to a backend that is down, OnRemoved to one that has left the pool.
	// OnRecovered applies, when a backend is up again, to the backends that are less preferred.
	OnDown, OnRemoved, OnRecovered config.LiveAction
	// Drain is how long the action drain leaves connections alone, and Spread the time over which
	// each action ends them.
	Drain, Spread time.Duration
	// PanicThreshold is in percent, for the log.
	PanicThreshold int
	Rebalance      Rebalance
}

// Rebalance is how fast connections of overloaded backends are closed. The zero value closes none.
type Rebalance struct {
	Rate   float64 // per second
	Jitter float64 // 0 to 1: by how much the time between two closings varies
}

// CheckDescriptors is the most file descriptors that health checks have open.
func (p *Plan) CheckDescriptors() int {
	var groups []health.Group
	for i := range p.Pools {
		if checks := p.Pools[i].Checks; checks != nil {
			groups = append(groups, *checks)
		}
	}
	return health.Descriptors(groups)
}

// adminDescriptors is for the socket of the admin address and its clients, admin.MaxConnections.
const adminDescriptors = 65

// OtherDescriptors is the most file descriptors that health checks and the admin address have open.
func (p *Plan) OtherDescriptors() int {
	n := p.CheckDescriptors()
	if p.Admin != nil {
		n += adminDescriptors
	}
	return n
}

// ListenSockets is the number of listening sockets: one per worker for each TCP address, one for
// each unix socket.
func (p *Plan) ListenSockets(workers int) int {
	n := 0
	for i := range p.Listeners {
		for _, b := range p.Listeners[i].Binds {
			if b.IsUnix() {
				n++
			} else {
				n += workers
			}
		}
	}
	return n
}
