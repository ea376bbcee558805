package control

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"l4proxy/config"
	"l4proxy/discovery"
	"l4proxy/listen"
)

// Facts are what the names in a configuration stand for outside of it: hosts, network interfaces,
// users and groups; and which options the sockets can have here.
type Facts struct {
	machine config.Machine
	hosts   map[discovery.Name]answer[[]discovery.Endpoint]
	users   map[string]answer[int]
	groups  map[string]answer[int]
	sockets map[need]error // nil: a socket can have the option here
	// identity is the user that the process runs as; nil if none is configured.
	identity answer[*Identity]
	// Lists are those of the configuration before, if there was one.
	Lists Lists
}

// answer is what a name stands for, or why that is unknown.
type answer[T any] struct {
	value T
	err   error
}

// Gather looks up all names of a configuration, each once. What fails is reported by [Build].
func Gather(ctx context.Context, cfg *config.Config, lookup Lookup) *Facts {
	f := &Facts{
		machine: ThisMachine(),
		hosts:   make(map[discovery.Name]answer[[]discovery.Endpoint]),
		users:   make(map[string]answer[int]),
		groups:  make(map[string]answer[int]),
		sockets: make(map[need]error),
	}
	f.trySockets(cfg)
	var names []discovery.Name
	for i := range cfg.Pools {
		for _, b := range cfg.Pools[i].Backends {
			if !b.Down && b.Address.Host != "" {
				names = append(names, discovery.Name{Host: b.Address.Host, SRV: b.Address.SRV})
			}
		}
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		for _, b := range l.Binds {
			if b.Host != "" {
				names = append(names, discovery.Name{Host: b.Host})
			}
			f.lookUpOwner(b.Socket.Owner)
		}
		f.lookUpOwner(l.Socket.Owner)
	}
	if a := cfg.Admin; a != nil {
		if a.Bind.Host != "" {
			names = append(names, discovery.Name{Host: a.Bind.Host})
		}
		f.lookUpOwner(a.Socket.Owner)
	}
	f.identity = lookUpIdentity(cfg.User, cfg.Group)
	f.resolve(ctx, names, lookup)
	return f
}

// lookUpOwner looks up the names of a user and a group.
func (f *Facts) lookUpOwner(o config.Owner) {
	if o.User != "" {
		f.users[o.User] = lookUpUser(o.User)
	}
	if o.Group != "" {
		f.groups[o.Group] = lookUpGroup(o.Group)
	}
}

// ip is the IP address of an address to listen on, and the number of the interface that its zone
// names; 0 without a zone. Of a name, it is the first IPv4 address, else the first one.
func (f *Facts) ip(a config.Address) (ip netip.Addr, scope uint32, err error) {
	ip = a.IP
	if a.Host != "" {
		known := f.hosts[discovery.Name{Host: a.Host}]
		if known.err != nil {
			return ip, 0, known.err
		}
		ip = known.value[0].IP // IPv4 is sorted before IPv6
	}
	scope, err = f.scope(ip)
	return ip, scope, err
}

// scope is the number of the interface that the zone of an address names; 0 without a zone.
func (f *Facts) scope(ip netip.Addr) (uint32, error) {
	zone := ip.Zone()
	if zone == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(zone, 10, 32)
	if number, known := f.machine.Zones[zone]; err != nil && known {
		n, err = strconv.ParseUint(number, 10, 32)
	}
	if err != nil {
		err = fmt.Errorf("no network interface %q: write the name of an existing one after %%", zone)
	}
	return uint32(n), err
}

// endpoints are those of a backend's name.
func (f *Facts) endpoints(s *SourcePlan) ([]discovery.Endpoint, error) {
	known := f.hosts[s.Name]
	if known.err != nil {
		return nil, known.err
	}
	var endpoints []discovery.Endpoint
	for _, e := range known.value {
		if s.accepts(e.IP) {
			endpoints = append(endpoints, e)
		}
	}
	if endpoints == nil {
		return nil, fmt.Errorf("cannot resolve the name: it has no address of the family %s", s.Family)
	}
	return endpoints, nil
}

// access is who may connect to a listener's unix sockets; nil if neither mode nor owner is
// configured. Without an owner, the sockets belong to the user of the process, also if that has
// opened them as another one.
func (f *Facts) access(s *config.Socket) (*listen.Access, error) {
	as := f.identity.value
	change := as != nil && !as.Current
	if *s == (config.Socket{}) && !change {
		return nil, nil
	}
	a := &listen.Access{Mode: s.Mode, User: -1, Group: -1}
	if change {
		a.User, a.Group = as.UID, as.GID
	}
	if s.User != "" {
		a.User = f.users[s.User].value
	}
	if s.Group != "" {
		a.Group = f.groups[s.Group].value
	}
	if err := f.users[s.User].err; err != nil {
		return nil, err
	}
	return a, f.groups[s.Group].err
}

// checkAddresses is [config.CheckAddresses] with the names resolved.
func (f *Facts) checkAddresses(cfg *config.Config) error {
	here := f.machine
	here.Hosts = make(map[string][]netip.AddrPort, len(f.hosts))
	for name, a := range f.hosts {
		for _, e := range a.value {
			here.Hosts[name.String()] = append(here.Hosts[name.String()], netip.AddrPortFrom(e.IP, e.Port))
		}
	}
	if faults := config.CheckAddresses(cfg, here); faults != nil {
		return cfg.Locate(faults)
	}
	return nil
}
