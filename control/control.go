// Package control turns the configuration into what the data plane works from.
//
// It is ordinary, slow, careful Go: it resolves names, derives limits, and reports what cannot be. What comes out is an
// immutable [proxy.State] that the data plane takes as it is.
package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"l4proxy/acl"
	"l4proxy/config"
	"l4proxy/internal/rawsys"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// Build makes the state for a validated configuration, and the monitor of its backends. Host names are resolved now,
// once; an error has a line for each address that cannot be used.
func Build(ctx context.Context, cfg *config.Config, lookup Lookup) (*proxy.State, *Monitor, error) {
	names := resolveAll(ctx, cfg, lookup)
	monitor := newMonitor(cfg.Drain.Timeout)
	var failed []error
	pools := make(map[string]*proxy.Pool, len(cfg.Pools))
	for i := range cfg.Pools {
		pool, err := buildPool(cfg, &cfg.Pools[i], names, monitor)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		pools[pool.Name] = pool
	}
	binds := make([][]listen.Bind, len(cfg.Listeners))
	sockets := make([]*listen.Access, len(cfg.Listeners))
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		var err error
		if binds[i], err = buildBinds(cfg, l, names); err != nil {
			failed = append(failed, err)
		}
		if sockets[i], err = access(&l.Socket); err != nil {
			failed = append(failed, at(cfg.Where(config.Path("listeners", l.Name)), fmt.Errorf("listener %s: %w", l.Name, err)))
		}
	}
	if failed != nil {
		return nil, nil, errors.Join(failed...)
	}
	if err := names.checkAddresses(cfg); err != nil {
		return nil, nil, err
	}
	state := new(proxy.State)
	lists := make(sets)
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		listener := &proxy.Listener{
			Name:             l.Name,
			Binds:            binds[i],
			Access:           sockets[i],
			Pool:             pools[l.Pool],
			ACL:              lists.buildACL(l.ACL),
			DenyMessage:      []byte(l.DenyMessage),
			NoBackend:        noBackend[l.WhenNoBackend],
			NoBackendMessage: []byte(l.NoBackendMessage),
			Idle:             l.Timeouts.Idle,
			HalfClose:        l.Timeouts.HalfClose,
			CloseOnFIN:       l.Timeouts.CloseOnFIN,
			Slots:            proxy.NewSlots(int64(l.MaxConnections)),
		}
		state.Listeners = append(state.Listeners, listener)
		if l.WhenNoBackend == config.NoBackendUnlisten {
			monitor.unlisten(listener)
		}
	}
	monitor.watchesAll()
	return state, monitor, nil
}

// at adds to an error where the configuration names what it is about, if it came from a file.
func at(pos config.Position, err error) error {
	if pos == (config.Position{}) {
		return err
	}
	return fmt.Errorf("%s: %w", pos, err)
}

// noBackend are the words of the configuration for what happens to a client that nobody serves. Clients who come in
// the moment before a listener stops to listen are closed.
var noBackend = map[config.NoBackend]proxy.NoBackend{
	config.NoBackendClose: proxy.CloseClient, config.NoBackendUnlisten: proxy.CloseClient, config.NoBackendReset: proxy.ResetClient,
	config.NoBackendMessage: proxy.MessageClient, config.NoBackendQueue: proxy.QueueClient,
}

// buildBinds makes the addresses of a listener. The error has a line for each address that cannot be used.
func buildBinds(cfg *config.Config, l *config.Listener, names *resolver) ([]listen.Bind, error) {
	binds := make([]listen.Bind, 0, len(l.Binds))
	var failed []error
	for i, b := range l.Binds {
		place := cfg.Where(config.Path("listeners", l.Name, "bind", i))
		for a := range b.Addresses() {
			bind, err := buildBind(a, names)
			if err != nil {
				failed = append(failed, at(place, fmt.Errorf("listener %s: %w", l.Name, err)))
				break // report only the first port of a range
			}
			bind.Place = place.String()
			binds = append(binds, bind)
		}
	}
	return binds, errors.Join(failed...)
}

func buildBind(b config.Address, names *resolver) (listen.Bind, error) {
	if b.IsUnix() {
		return listen.Bind{Network: "unix", Address: b.Path}, nil
	}
	port := strconv.Itoa(int(b.Port))
	if !b.IP.IsValid() && b.Host == "" {
		return listen.Bind{Network: "tcp", Address: ":" + port}, nil
	}
	ip, err := names.resolve(b)
	if err == nil {
		_, err = rawsys.Scope(ip)
	}
	if err != nil {
		return listen.Bind{}, fmt.Errorf("bind %s: %w", b, err)
	}
	return listen.Bind{Network: "tcp", Address: net.JoinHostPort(ip.String(), port)}, nil
}

// actions are the words of the configuration for what happens to a denied client.
var actions = map[config.DenyAction]acl.Action{config.DenyMessage: acl.Message, config.DenyClose: acl.Close, config.DenyReset: acl.Reset}

// sets are the sets made from list files: each is made once, for all listeners.
type sets map[*config.List]*acl.Set

func (s sets) of(l *config.List) *acl.Set {
	if s[l] == nil {
		s[l] = acl.NewSet(l.Prefixes)
	}
	return s[l]
}

func (s sets) buildACL(a *config.ACL) *acl.List {
	if a == nil {
		return nil
	}
	rules := make([]acl.Rule, len(a.Rules))
	for i, r := range a.Rules {
		rules[i] = acl.Rule{Name: r.Name, Allow: r.Allow, Prefixes: r.Prefixes, Action: actions[r.With]}
		for _, l := range r.Lists {
			rules[i].Sets = append(rules[i].Sets, s.of(l))
		}
	}
	return acl.Build(rules, a.DefaultAllow())
}
