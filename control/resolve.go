package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Lookup finds the addresses of a host name, such as (*net.Resolver).LookupNetIP with network "ip".
// Several goroutines call it at once.
type Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

const (
	// lookupTimeout bounds one look-up: without a limit, a startup that hangs in one would not show
	// why.
	lookupTimeout = 5 * time.Second
	// lookupsAtOnce bounds the concurrent queries to a name server. Each takes a descriptor.
	lookupsAtOnce = 16
)

// resolve looks up host names, each once and several at a time. "" is no name.
func (f *Facts) resolve(ctx context.Context, hosts []string, lookup Lookup) {
	var names []string
	for _, host := range hosts {
		if _, known := f.hosts[host]; !known && host != "" {
			f.hosts[host] = answer[netip.Addr]{}
			names = append(names, host)
		}
	}
	answers := make([]answer[netip.Addr], len(names))
	next := make(chan int)
	var lookups sync.WaitGroup
	for range min(lookupsAtOnce, len(names)) {
		lookups.Go(func() {
			for i := range next {
				answers[i].value, answers[i].err = lookUp(ctx, names[i], lookup)
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	lookups.Wait()
	for i, name := range names {
		f.hosts[name] = answers[i]
	}
}

// lookUp returns the first of the addresses of a name, IPv4 before IPv6.
func lookUp(ctx context.Context, name string, lookup Lookup) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := lookup(ctx, "ip", name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot resolve the name: %w", err)
	}
	if len(ips) == 0 {
		return netip.Addr{}, errors.New("cannot resolve the name: no IPv4 or IPv6 address")
	}
	if i := slices.IndexFunc(ips, func(ip netip.Addr) bool { return ip.Unmap().Is4() }); i > 0 {
		return ips[i].Unmap(), nil
	}
	return ips[0].Unmap(), nil
}
