package bandwidth

import (
	"net/netip"
	"sync"
	"time"
)

// A Direction is one of the two directions of a connection.
type Direction uint8

// The directions.
const (
	In         Direction = iota // client to backend
	Out                         // backend to client
	Directions                  // the number of directions
)

var directionNames = [Directions]string{"in", "out"}

func (d Direction) String() string { return directionNames[d] }

// A Kind says what a limit applies to.
type Kind uint8

// The kinds, in the order in which a flow takes its turns: with a limit of its own it waits there,
// and not in the queue of others.
const (
	Connection Kind = iota // each connection
	Client                 // all connections of a client's address
	Total                  // all connections of a listener
	Kinds                  // the number of kinds
)

var kindNames = [Kinds]string{"connection", "client", "listener"}

func (k Kind) String() string { return kindNames[k] }

// Settings are the limits of a listener, in bytes per second; 0 means no limit.
type Settings struct {
	Rates [Kinds][Directions]int64
	// IPv4 and IPv6 are the lengths of the prefixes that count as one client.
	IPv4, IPv6 int
}

// Any reports whether there is any limit.
func (s *Settings) Any() bool { return s.Rates != [Kinds][Directions]int64{} }

// Limits are the live limits of a listener. They outlive the configuration that has set them: a
// change applies to the connections that are open. Any goroutine may use them.
type Limits struct {
	rates [Kinds][Directions]Rate
	total [Directions]*Bucket

	mu         sync.Mutex
	ipv4, ipv6 int
	clients    map[netip.Prefix]*client
	idle       []idle // clients without a connection, in the order of their times
}

// client are the buckets that the connections of one client share.
type client struct {
	buckets [Directions]*Bucket
	open    int // connections
	left    int64
}

type idle struct {
	prefix netip.Prefix
	left   int64
}

// forgetAfter is when a client without connections is forgotten: its buckets are full by then
// unless it has overdrawn them, so that reconnecting gains it nothing.
const forgetAfter = int64(time.Second)

// NewLimits returns limits that limit nothing.
func NewLimits() *Limits {
	l := &Limits{clients: make(map[netip.Prefix]*client)}
	for d := range l.total {
		l.total[d] = NewBucket(&l.rates[Total][d])
	}
	return l
}

// Set changes the limits. Flows that wait notice it when their bucket is served next, after a
// quantum of the old rate at the latest.
func (l *Limits) Set(s Settings) {
	for k := range s.Rates {
		for d, rate := range s.Rates[k] {
			l.rates[k][d].Store(rate)
		}
	}
	l.mu.Lock()
	l.ipv4, l.ipv6 = s.IPv4, s.IPv6
	l.mu.Unlock()
}

// Any reports whether there is any limit now.
func (l *Limits) Any() bool {
	for k := range l.rates {
		for d := range l.rates[k] {
			if l.rates[k][d].Load() > 0 {
				return true
			}
		}
	}
	return false
}

// A Membership is what a connection needs to leave its limits.
type Membership struct {
	limits *Limits
	prefix netip.Prefix // invalid if the client has no address
}

// Join lets the two flows of a connection take their turns. addr is the client's address, invalid
// for a client of a unix socket: no limit per client applies to it.
func (l *Limits) Join(addr netip.Addr, turns *[Directions][Kinds]Turn, now int64) Membership {
	m := Membership{limits: l}
	var of *client
	if addr.IsValid() {
		l.mu.Lock()
		l.forget(now)
		m.prefix = l.prefixOf(addr)
		if of = l.clients[m.prefix]; of == nil {
			of = new(client)
			for d := range of.buckets {
				of.buckets[d] = NewBucket(&l.rates[Client][d])
			}
			l.clients[m.prefix] = of
		}
		of.open++
		l.mu.Unlock()
	}
	for d := range turns {
		turns[d][Connection].Join(NewBucket(&l.rates[Connection][d]))
		turns[d][Total].Join(l.total[d])
		if of != nil {
			turns[d][Client].Join(of.buckets[d])
		}
	}
	return m
}

// Leave ends a membership.
func (m Membership) Leave(now int64) {
	if !m.prefix.IsValid() {
		return
	}
	l := m.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.clients[m.prefix]
	if of.open--; of.open == 0 {
		of.left = now
		l.idle = append(l.idle, idle{m.prefix, now})
	}
	l.forget(now)
}

// forget forgets clients that have been without connections for a while, two at most for each
// connection that comes or goes: that bounds the clients that are kept to those of a second.
func (l *Limits) forget(now int64) {
	for range 2 {
		if len(l.idle) == 0 || now-l.idle[0].left < forgetAfter {
			return
		}
		gone := l.idle[0]
		l.idle = l.idle[1:]
		// It may have come back since then, and may even have left once more.
		if of := l.clients[gone.prefix]; of != nil && of.open == 0 && of.left == gone.left {
			delete(l.clients, gone.prefix)
		}
	}
}

// prefixOf is the prefix that an address shares its limit with.
func (l *Limits) prefixOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := l.ipv6
	if addr.Is4() {
		bits = l.ipv4
	}
	prefix, err := addr.Prefix(bits)
	if err != nil { // cannot be: the lengths were checked
		return netip.PrefixFrom(addr, addr.BitLen())
	}
	return prefix
}
