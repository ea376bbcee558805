package control

import (
	"cmp"
	"math"
	"net/netip"
	"slices"

	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/discovery"
	"l4proxy/health"
	"l4proxy/internal/rawsys"
)

// EntryPlan is one entry in the list of a pool's backends. An address is one backend, a name as
// many as it has addresses.
type EntryPlan struct {
	Address string          // as configured; unique in its pool
	Member  balancer.Member // what the entry says of each of its backends
	Port    uint16          // unless the endpoints have ports

	// Path is that of a unix socket. Otherwise there are Endpoints; one, unless there is a Source.
	Path      string
	Endpoints []discovery.Endpoint
	// Source is nil for an address, which never changes.
	Source *SourcePlan

	// CheckPort and CheckName are what health checks use; 0 and "" are those of the endpoint.
	CheckPort uint16
	CheckName string

	sockaddr *rawsys.Sockaddr // of Path
	scope    uint32           // of a link-local address
}

// SourcePlan is where the endpoints of an entry come from.
type SourcePlan struct {
	Name   discovery.Name
	Bounds discovery.Bounds
	Family config.Family
}

// accepts reports whether an address is of the right family.
func (s *SourcePlan) accepts(ip netip.Addr) bool {
	return s.Family == config.FamilyAny || ip.Is4() == (s.Family == config.FamilyIPv4)
}

// expand makes the members, and the targets of the checks, from the entries. Two entries that stand
// for the same endpoint are one backend, with what the first one says: its connections must not be
// counted twice.
func (p *PoolPlan) expand() {
	p.Members = make([]MemberPlan, 0, len(p.Entries))
	var targets []health.Target
	seen := make(map[Endpoint]bool, len(p.Entries))
	for i := range p.Entries {
		for _, b := range p.Entries[i].backends() {
			if seen[b.Key.Endpoint] {
				continue
			}
			seen[b.Key.Endpoint] = true
			p.Members = append(p.Members, b.MemberPlan)
			targets = append(targets, b.target)
		}
	}
	if p.Checks != nil {
		checks := *p.Checks // another plan may have the old one
		checks.Targets = targets
		p.Checks = &checks
	}
}

// plannedBackend is a backend, and how it is checked.
type plannedBackend struct {
	MemberPlan
	target health.Target
}

func (e *EntryPlan) backends() []plannedBackend {
	if e.Path != "" {
		b := plannedBackend{MemberPlan: MemberPlan{Member: e.Member, Sockaddr: e.sockaddr}}
		b.Name, b.Key = e.Address, BackendKey{Address: e.Address, Endpoint: Endpoint{Path: e.Path}}
		b.target = health.Target{Addr: b.Key.Endpoint.toCheck(0), Name: e.CheckName}
		return []plannedBackend{b}
	}
	backends := make([]plannedBackend, len(e.Endpoints))
	srv := servicePlan(e.Endpoints)
	for i, ep := range e.Endpoints {
		b := &backends[i]
		b.Member = e.Member
		if e.Source != nil && e.Source.Name.SRV {
			b.Weight = srv.weight(ep)
			b.Priority = srv.priority(ep, e.Member.Priority)
		}
		tcp := netip.AddrPortFrom(ep.IP, cmp.Or(ep.Port, e.Port))
		b.Key = BackendKey{Address: e.Address, Endpoint: Endpoint{TCP: tcp}}
		b.Name = e.Address
		if e.Source != nil {
			b.Name = tcp.String()
		}
		b.Sockaddr = rawsys.InetSockaddr(tcp, e.scope)
		b.target = health.Target{Addr: b.Key.Endpoint.toCheck(e.CheckPort), Name: cmp.Or(e.CheckName, ep.Host)}
	}
	return backends
}

// maxServiceWeight is the highest weight of a backend. Those of SRV records go up to 65535.
const maxServiceWeight = 1000

// service maps the priorities and weights of SRV records.
type service struct {
	priorities []uint16 // in ascending order
	most       uint16   // the highest weight
}

func servicePlan(endpoints []discovery.Endpoint) service {
	var s service
	for _, e := range endpoints {
		s.priorities = append(s.priorities, e.Priority)
		s.most = max(s.most, e.Weight)
	}
	slices.Sort(s.priorities)
	s.priorities = slices.Compact(s.priorities)
	return s
}

// weight is never 0: RFC 2782 gives such a server a very small chance, not none.
func (s service) weight(e discovery.Endpoint) int {
	w := int(e.Weight)
	if s.most > maxServiceWeight {
		w = int(math.Round(float64(w) * maxServiceWeight / float64(s.most)))
	}
	return max(1, w)
}

// priority counts on from that of the entry. Backups stay behind all others.
func (s service) priority(e discovery.Endpoint, first uint8) uint8 {
	last := backupPriority - 1
	if first >= backupPriority {
		last = math.MaxUint8
	}
	rank, _ := slices.BinarySearch(s.priorities, e.Priority)
	return uint8(min(int(first)+rank, last))
}
