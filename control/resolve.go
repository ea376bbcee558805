package control

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"l4proxy/config"
)

// Lookup finds the addresses of a host name, such as (*net.Resolver).LookupNetIP with network "ip". Several goroutines
// call it at once.
type Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

const (
	// lookupTimeout bounds one look-up: a start that hangs in one would not say why.
	lookupTimeout = 5 * time.Second
	// lookupsAtOnce bounds the concurrent queries to a name server; each takes a descriptor.
	lookupsAtOnce = 16
)

// resolver looks each name up once.
type resolver struct {
	lookup Lookup
	known  map[string]answer
}

type answer struct {
	addr netip.Addr
	err  error
}

// resolveAll looks up all names of a configuration.
func resolveAll(ctx context.Context, cfg *config.Config, lookup Lookup) *resolver {
	var hosts []string
	for i := range cfg.Pools {
		for _, b := range cfg.Pools[i].Backends {
			if !b.Down {
				hosts = append(hosts, b.Address.Host)
			}
		}
	}
	for i := range cfg.Listeners {
		for _, b := range cfg.Listeners[i].Binds {
			hosts = append(hosts, b.Host)
		}
	}
	r := &resolver{lookup: lookup, known: make(map[string]answer)}
	r.ask(ctx, hosts)
	return r
}

// ask looks up the hosts that are names, several at once.
func (r *resolver) ask(ctx context.Context, hosts []string) {
	var names []string
	for _, host := range hosts {
		if host == "" {
			continue
		}
		if _, asked := r.known[host]; !asked {
			r.known[host] = answer{}
			names = append(names, host)
		}
	}
	answers := make([]answer, len(names))
	next := make(chan int)
	var lookups sync.WaitGroup
	for range min(lookupsAtOnce, len(names)) {
		lookups.Go(func() {
			for i := range next {
				answers[i].addr, answers[i].err = r.lookUp(ctx, names[i])
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	lookups.Wait()
	for i, name := range names {
		r.known[name] = answers[i]
	}
}

// lookUp returns the first of the addresses of a name, IPv4 before IPv6.
func (r *resolver) lookUp(ctx context.Context, name string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := r.lookup(ctx, "ip", name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot resolve the name: %w", err)
	}
	if len(ips) == 0 {
		return netip.Addr{}, fmt.Errorf("cannot resolve the name: %s has no address", name)
	}
	if i := slices.IndexFunc(ips, func(ip netip.Addr) bool { return ip.Unmap().Is4() }); i > 0 {
		return ips[i].Unmap(), nil
	}
	return ips[0].Unmap(), nil
}

// resolve returns the IP address that was configured, otherwise the answer that ask found.
func (r *resolver) resolve(address config.Address) (netip.Addr, error) {
	if address.IP.IsValid() {
		return address.IP, nil
	}
	a := r.known[address.Host]
	return a.addr, a.err
}

// checkAddresses is [config.CheckAddresses] with the names resolved.
func (r *resolver) checkAddresses(cfg *config.Config) error {
	here := ThisMachine()
	here.Hosts = make(map[string]netip.Addr, len(r.known))
	for name, a := range r.known {
		if a.err == nil {
			here.Hosts[name] = a.addr
		}
	}
	if faults := config.CheckAddresses(cfg.Listeners, cfg.Pools, here); faults != nil {
		return cfg.Locate(faults)
	}
	return nil
}
