package control

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"l4proxy/config"
	"l4proxy/listen"
)

// Facts are what the names in a configuration stand for outside of it: hosts, network interfaces,
// users and groups.
type Facts struct {
	machine config.Machine
	hosts   map[string]answer[netip.Addr]
	users   map[string]answer[int]
	groups  map[string]answer[int]
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
		hosts:   make(map[string]answer[netip.Addr]),
		users:   make(map[string]answer[int]),
		groups:  make(map[string]answer[int]),
	}
	var hosts []string
	for i := range cfg.Pools {
		for _, b := range cfg.Pools[i].Backends {
			if !b.Down {
				hosts = append(hosts, b.Address.Host)
			}
		}
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		for _, b := range l.Binds {
			hosts = append(hosts, b.Host)
		}
		if l.Socket.User != "" {
			f.users[l.Socket.User] = lookUpUser(l.Socket.User)
		}
		if l.Socket.Group != "" {
			f.groups[l.Socket.Group] = lookUpGroup(l.Socket.Group)
		}
	}
	f.resolve(ctx, hosts, lookup)
	return f
}

// ip is the IP address of a TCP address, and the number of the interface that its zone names; 0
// without a zone.
func (f *Facts) ip(a config.Address) (ip netip.Addr, scope uint32, err error) {
	ip = a.IP
	if a.Host != "" {
		known := f.hosts[a.Host]
		ip, err = known.value, known.err
	}
	zone := ip.Zone()
	if err != nil || zone == "" {
		return ip, 0, err
	}
	n, err := strconv.ParseUint(zone, 10, 32)
	if number, known := f.machine.Zones[zone]; err != nil && known {
		n, err = strconv.ParseUint(number, 10, 32)
	}
	if err != nil {
		err = fmt.Errorf("no network interface %q: write the name of an existing one after %%", zone)
	}
	return ip, uint32(n), err
}

// access is who may connect to a listener's unix sockets; nil if neither mode nor owner is
// configured.
func (f *Facts) access(s *config.Socket) (*listen.Access, error) {
	if *s == (config.Socket{}) {
		return nil, nil
	}
	a := &listen.Access{Mode: s.Mode, User: -1, Group: -1}
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
	here.Hosts = make(map[string]netip.Addr, len(f.hosts))
	for name, a := range f.hosts {
		here.Hosts[name] = a.value
	}
	if faults := config.CheckAddresses(cfg.Listeners, cfg.Pools, here); faults != nil {
		return cfg.Locate(faults)
	}
	return nil
}
