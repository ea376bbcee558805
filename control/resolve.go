package control

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Lookup finds the addresses of a host name; (*net.Resolver).LookupNetIP with network "ip" is one.
type Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// lookupTimeout bounds one look-up: a start that hangs in one tells nobody why.
const lookupTimeout = 5 * time.Second

// resolver looks each name up once.
type resolver struct {
	lookup Lookup
	known  map[string]netip.Addr
}

// resolve returns host itself if it is an address, otherwise the first of its addresses, IPv4 before IPv6.
func (r *resolver) resolve(ctx context.Context, host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap(), nil
	}
	if ip, ok := r.known[host]; ok {
		return ip, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := r.lookup(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot resolve the name: %w", err)
	}
	if len(ips) == 0 {
		return netip.Addr{}, fmt.Errorf("cannot resolve the name: %s has no address", host)
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	if i := slices.IndexFunc(ips, netip.Addr.Is4); i > 0 {
		ips[0] = ips[i]
	}
	r.known[host] = ips[0]
	return ips[0], nil
}
