package control

import (
	"errors"
	"fmt"
	"net/netip"

	"l4proxy/acl"
	"l4proxy/config"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// Build makes the plan for a validated configuration. It only computes: facts are all that it knows
// of the world. The error has a line for each address and each owner that cannot be used.
func Build(cfg *config.Config, facts *Facts) (*Plan, error) {
	plan := new(Plan)
	var failed []error
	for i := range cfg.Pools {
		pool, err := buildPool(cfg, &cfg.Pools[i], facts)
		failed = append(failed, err)
		pool.Rules.Drain = cfg.Drain.Timeout
		plan.Pools = append(plan.Pools, pool)
	}
	plan.Lists = Lists{made: make(map[*config.List]*acl.Set), before: facts.Lists.made}
	for i := range cfg.Listeners {
		listener, err := buildListener(cfg, &cfg.Listeners[i], facts, plan.Lists)
		failed = append(failed, err)
		plan.Listeners = append(plan.Listeners, listener)
	}
	admin, err := buildAdmin(cfg, facts)
	plan.Admin = admin
	failed = append(failed, facts.checkSockets(cfg))
	identity, unknown := buildIdentity(cfg, facts)
	plan.Identity = identity
	if err := errors.Join(append(failed, err, unknown)...); err != nil {
		return nil, err
	}
	if err := facts.checkAddresses(cfg); err != nil {
		return nil, err
	}
	return plan, nil
}

// at adds to an error the position in the configuration that it is about, if that came from a file.
func at(pos config.Position, err error) error {
	if pos == (config.Position{}) {
		return err
	}
	return fmt.Errorf("%s: %w", pos, err)
}

// noBackend are the ways to treat a client that no backend can serve. A client that arrives just
// before a listener is closed (unlisten) is closed too.
var noBackend = map[config.NoBackend]proxy.NoBackend{
	config.NoBackendClose:    proxy.CloseClient,
	config.NoBackendUnlisten: proxy.CloseClient,
	config.NoBackendReset:    proxy.ResetClient,
	config.NoBackendMessage:  proxy.MessageClient,
	config.NoBackendQueue:    proxy.QueueClient,
}

func buildListener(cfg *config.Config, l *config.Listener, facts *Facts, lists Lists) (ListenerPlan, error) {
	binds, failed := buildBinds(cfg, l, facts)
	access, err := facts.access(&l.Socket)
	if err != nil {
		failed = append(failed, at(cfg.Where(config.Path("listeners", l.Name)),
			fmt.Errorf("listener %s: %w", l.Name, err)))
	}
	var keepAlive *proxy.KeepAlive // nil: the default
	if k := buildTCP(l.TCP).KeepAlive; k != (proxy.KeepAlive{}) {
		keepAlive = &k
	}
	routes, routePools, err := buildRoutes(l)
	failed = append(failed, err)
	return ListenerPlan{
		PoolName:       l.Pool,
		RoutePoolNames: routePools,
		MaxConnections: int64(l.MaxConnections),
		PerClient:      buildClients(l.PerClient),
		Follows:        l.WhenNoBackend == config.NoBackendUnlisten,
		Listener: proxy.Listener{
			Name:             l.Name,
			Binds:            binds,
			Routes:           routes,
			Access:           access,
			KeepAlive:        keepAlive,
			Multipath:        l.TCP != nil && l.TCP.MPTCP,
			ProxyFrom:        lists.proxyFrom(l.ProxyProtocol),
			StartTLS:         startTLS[l.StartTLS],
			Handshake:        l.Timeouts.Handshake,
			ACL:              lists.buildACL(l.ACL, cfg.Geo),
			DenyMessage:      []byte(l.DenyMessage),
			Tarpit:           proxy.Tarpit(l.Tarpit),
			OverLimit:        overLimit(l.PerClient),
			NoBackend:        noBackend[l.WhenNoBackend],
			NoBackendMessage: []byte(l.NoBackendMessage),
			Idle:             l.Timeouts.Idle,
			HalfClose:        l.Timeouts.HalfClose,
			Lifetime:         l.Timeouts.Lifetime,
			Bandwidth:        buildBandwidth(l),
			CloseOnFIN:       l.Timeouts.CloseOnFIN,
		},
	}, errors.Join(failed...)
}

// buildBinds makes the addresses of a listener. There is one error for each bind that cannot be
// used, also if it is a range of ports.
func buildBinds(cfg *config.Config, l *config.Listener, facts *Facts) (binds []listen.Bind, failed []error) {
	tcp := buildTCP(l.TCP)
	for i, b := range l.Binds {
		options := buildOptions(b, tcp)
		access, err := facts.access(&b.Socket)
		if err != nil {
			failed = append(failed, at(cfg.Where(config.Path("listeners", l.Name, "bind", i, "owner")),
				fmt.Errorf("listener %s: %w", l.Name, err)))
		}
		place := cfg.Where(config.Path("listeners", l.Name, "bind", i))
		for a := range b.Addresses() {
			bind, err := buildBind(a, facts)
			if err != nil {
				failed = append(failed, at(place, fmt.Errorf("listener %s: bind %s: %w", l.Name, a, err)))
				break
			}
			bind.Place, bind.Options, bind.Access = place.String(), options, access
			binds = append(binds, bind)
		}
	}
	return binds, failed
}

func buildBind(a config.Address, facts *Facts) (listen.Bind, error) {
	if a.IsUnix() {
		return listen.Bind{Path: a.Path}, nil
	}
	ip, _, err := facts.ip(a)
	return listen.Bind{Addr: netip.AddrPortFrom(ip, a.Port)}, err
}
