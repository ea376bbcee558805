// Package control turns the configuration into what the data plane works from.
//
// It is ordinary, slow, careful Go: it resolves names, derives limits, and reports what cannot be. What comes out is an
// immutable [proxy.State] that the data plane takes as it is.
package control

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"l4proxy/acl"
	"l4proxy/config"
	"l4proxy/proxy"
)

// Build makes the state for a validated configuration, and the monitor of its backends. Host names are resolved now,
// once; an error names the one that could not be.
func Build(ctx context.Context, cfg *config.Config, lookup Lookup) (*proxy.State, *Monitor, error) {
	names := resolver{lookup: lookup, known: map[string]netip.Addr{}}
	monitor := newMonitor(cfg.Drain.Timeout)
	pools := make(map[string]*proxy.Pool, len(cfg.Pools))
	for i := range cfg.Pools {
		pool, err := buildPool(ctx, &cfg.Pools[i], &names, monitor)
		if err != nil {
			return nil, nil, err
		}
		pools[pool.Name] = pool
	}
	state := new(proxy.State)
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		listener := &proxy.Listener{
			Name:             l.Name,
			Pool:             pools[l.Pool],
			ACL:              buildACL(l.ACL),
			DenyMessage:      []byte(l.DenyMessage),
			NoBackend:        noBackend[l.WhenNoBackend],
			NoBackendMessage: []byte(l.NoBackendMessage),
			Idle:             l.Timeouts.Idle,
			HalfClose:        l.Timeouts.HalfClose,
			Limit:            proxy.Limit{Max: int64(l.MaxConnections)},
		}
		for _, b := range l.Binds {
			bind, err := buildBind(ctx, b, &names)
			if err != nil {
				return nil, nil, fmt.Errorf("listener %s: %w", l.Name, err)
			}
			listener.Binds = append(listener.Binds, bind)
		}
		state.Listeners = append(state.Listeners, listener)
		if l.WhenNoBackend == "unlisten" {
			monitor.unlisten(listener)
		}
	}
	monitor.watchesAll()
	return state, monitor, nil
}

// noBackend are the words of the configuration for what happens to a client that nobody serves. Clients who come in
// the moment before a listener stops to listen are closed.
var noBackend = map[string]proxy.NoBackend{
	"close": proxy.CloseClient, "unlisten": proxy.CloseClient, "reset": proxy.ResetClient,
	"message": proxy.MessageClient, "queue": proxy.QueueClient,
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
