package discovery

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"
)

// Name is what to ask for: the addresses of a host or, with SRV, the servers of a service.
type Name struct {
	Host string
	SRV  bool
}

func (n Name) String() string {
	if n.SRV {
		return "srv:" + n.Host
	}
	return n.Host
}

// Endpoint is the address of one server.
type Endpoint struct {
	IP netip.Addr `json:"ip"`
	// Host, Port, Priority and Weight come from an SRV record (RFC 2782). Without one, they are
	// empty.
	Host     string `json:"host,omitempty"`
	Port     uint16 `json:"port,omitempty"`
	Priority uint16 `json:"priority,omitempty"`
	Weight   uint16 `json:"weight,omitempty"`
}

// String returns the address, with the port if there is one.
func (e Endpoint) String() string {
	if e.Port == 0 {
		return e.IP.String()
	}
	return netip.AddrPortFrom(e.IP, e.Port).String()
}

// Endpoints are all endpoints of a name.
type Endpoints struct {
	// Generation grows with each answer of a Directory.
	Generation uint64
	List       []Endpoint
}

// Source gives the endpoints of something that changes.
type Source interface {
	// Run calls set with every answer, even when nothing has changed, until ctx is done. Without an
	// answer, or with an empty one, it does not call set: the last endpoints stay.
	Run(ctx context.Context, set func(Endpoints)) error
}

// Answer is what a Resolver has found.
type Answer struct {
	Endpoints []Endpoint
	// TTL is how long the answer is valid, as its servers say.
	TTL time.Duration
	// Failed are the parts of the answer that are unknown, because a server did not answer.
	Failed []Part
	// Err is why they are unknown.
	Err error
	// Dropped is how many endpoints were beyond the limit.
	Dropped int
}

// Part is one of the questions that an answer takes: the IPv4 or the IPv6 addresses of the name or,
// with SRV, of one of the hosts.
type Part struct {
	Host string
	IPv6 bool
}

// completed is the answer in which what is unknown is as it was before: a server that answers only
// half of the questions must not remove the other half of the backends.
func (a Answer) completed(before []Endpoint) Answer {
	for _, e := range before {
		if slices.Contains(a.Failed, Part{e.Host, e.IP.Is6()}) {
			a.Endpoints = append(a.Endpoints, e)
		}
	}
	return a.tidy()
}

// Compare is the order of the endpoints of a name: by priority, then IPv4 before IPv6.
func Compare(a, b Endpoint) int {
	return cmp.Or(cmp.Compare(a.Priority, b.Priority), a.IP.Compare(b.IP), cmp.Compare(a.Port, b.Port), cmp.Compare(b.Weight, a.Weight))
}

// maxEndpoints bounds the endpoints of one name.
const maxEndpoints = 1000

// tidy sorts the endpoints, so that a server that rotates its answers changes nothing, and drops
// those that are repeated, cannot be used or are too many.
func (a Answer) tidy() Answer {
	list := slices.Clone(a.Endpoints)
	list = slices.DeleteFunc(list, func(e Endpoint) bool { return !usable(e.IP) })
	slices.SortFunc(list, Compare)
	list = slices.CompactFunc(list, func(a, b Endpoint) bool { return a.IP == b.IP && a.Port == b.Port })
	if more := len(list) - maxEndpoints; more > 0 {
		list, a.Dropped = list[:maxEndpoints], more
	}
	a.Endpoints = list
	return a
}

// usable reports whether a server can have this address. Linux takes a connection to 0.0.0.0 as one
// to this machine, and name servers that block names answer with it. A link-local IPv6 address
// needs an interface, which DNS cannot name.
func usable(ip netip.Addr) bool {
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && ip != broadcast &&
		(!ip.Is6() || !ip.IsLinkLocalUnicast() || ip.Zone() != "")
}
