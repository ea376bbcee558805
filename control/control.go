// Package control turns the configuration into what the data plane works from.
//
// It is ordinary, slow, careful Go: it resolves names, derives limits, and reports what cannot be. What comes out is an
// immutable [proxy.State] that the data plane takes as it is.
package control

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"

	"l4proxy/acl"
	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/eventloop"
	"l4proxy/proxy"
)

// Build makes the state for a validated configuration. Host names are resolved now, once; an error names the one that
// could not be.
func Build(ctx context.Context, cfg *config.Config, lookup Lookup) (*proxy.State, error) {
	names := resolver{lookup: lookup, known: map[string]netip.Addr{}}
	pools := make(map[string]*proxy.Pool, len(cfg.Pools))
	for i := range cfg.Pools {
		pool, err := buildPool(ctx, &cfg.Pools[i], &names)
		if err != nil {
			return nil, err
		}
		pools[pool.Name] = pool
	}
	state := new(proxy.State)
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		listener := &proxy.Listener{
			Name:        l.Name,
			Pool:        pools[l.Pool],
			ACL:         buildACL(l.ACL),
			DenyMessage: []byte(l.DenyMessage),
			Idle:        l.Timeouts.Idle,
			HalfClose:   l.Timeouts.HalfClose,
			Limit:       proxy.Limit{Max: int64(l.MaxConnections)},
		}
		for _, b := range l.Binds {
			bind, err := buildBind(ctx, b, &names)
			if err != nil {
				return nil, fmt.Errorf("listener %s: %w", l.Name, err)
			}
			listener.Binds = append(listener.Binds, bind)
		}
		state.Listeners = append(state.Listeners, listener)
	}
	return state, nil
}

func buildPool(ctx context.Context, p *config.Pool, names *resolver) (*proxy.Pool, error) {
	pool := &proxy.Pool{
		Name:           p.Name,
		Backends:       make([]*backend.Backend, len(p.Backends)),
		Addrs:          make([]*eventloop.Sockaddr, len(p.Backends)),
		ConnectTimeout: p.Connect.Timeout,
		Attempts:       p.Connect.Attempts,
	}
	for i := range p.Backends {
		b := &p.Backends[i]
		addr, err := backendAddr(ctx, b, names)
		if err != nil {
			return nil, fmt.Errorf("pool %s, backend %s: %w", p.Name, b.Address, err)
		}
		pool.Backends[i] = &backend.Backend{Address: b.Address, Pool: p.Name, Weight: b.Weight, Index: i}
		pool.Addrs[i] = addr
	}
	var err error
	pool.Policy, err = balancer.New(p.Policy, pool.Backends, rand.Uint64())
	return pool, err
}

func backendAddr(ctx context.Context, b *config.Backend, names *resolver) (*eventloop.Sockaddr, error) {
	if b.Network == "unix" {
		return eventloop.UnixSockaddr(b.Path)
	}
	ip, err := names.resolve(ctx, b.Host)
	if err != nil {
		return nil, err
	}
	scope, err := scopeOf(ip)
	if err != nil {
		return nil, err
	}
	return eventloop.InetSockaddr(netip.AddrPortFrom(ip, b.Port), scope), nil
}

// scopeOf is the number of the interface that the zone of a link-local address names, 0 without one.
func scopeOf(ip netip.Addr) (uint32, error) {
	zone := ip.Zone()
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	nic, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("no network interface %q: %w", zone, err)
	}
	return uint32(nic.Index), nil
}

func buildBind(ctx context.Context, b config.Bind, names *resolver) (proxy.Bind, error) {
	if b.Network == "unix" {
		return proxy.Bind{Network: "unix", Address: b.Path}, nil
	}
	port := strconv.Itoa(int(b.Port))
	if b.Host == "" {
		return proxy.Bind{Network: "tcp", Address: ":" + port}, nil
	}
	ip, err := names.resolve(ctx, b.Host)
	if err != nil {
		return proxy.Bind{}, fmt.Errorf("bind %s: %w", b, err)
	}
	return proxy.Bind{Network: "tcp", Address: net.JoinHostPort(ip.String(), port)}, nil
}

// actions are the words of the configuration for what happens to a denied client.
var actions = map[string]acl.Action{"message": acl.Message, "close": acl.Close, "reset": acl.Reset}

func buildACL(a *config.ACL) *acl.List {
	if a == nil {
		return nil
	}
	rules := make([]acl.Rule, len(a.Rules))
	for i, r := range a.Rules {
		rules[i] = acl.Rule{Name: r.Name, Allow: r.Allow, Prefixes: r.Prefixes, Action: actions[r.With]}
	}
	return acl.Build(rules, a.DefaultAllow())
}
