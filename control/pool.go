package control

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/health"
	"l4proxy/internal/rawsys"
	"l4proxy/proxy"
)

// backupPriority is that of backends marked as backup: after all that a configuration can give.
const backupPriority = 10

// buildPool makes one pool and has the monitor watch over it. The error has a line for each backend whose address
// cannot be used.
func buildPool(cfg *config.Config, p *config.Pool, names *resolver, monitor *Monitor) (*proxy.Pool, error) {
	pool := &proxy.Pool{
		Name:           p.Name,
		ConnectTimeout: p.Connect.Timeout,
		Attempts:       p.Connect.Attempts,
		Hedge:          p.Connect.Hedge,
		Hedges:         new(proxy.HedgeBudget),
	}
	var targets []health.Target
	var failed []error
	for i := range p.Backends {
		b := &p.Backends[i]
		if b.Down {
			continue // hidden from everything that picks, checks or counts backends
		}
		var sockaddr *rawsys.Sockaddr
		addr, err := resolveBackend(b, names)
		if err == nil {
			sockaddr, err = addr.sockaddr()
		}
		if err != nil {
			failed = append(failed, at(cfg.Where(config.Path("pools", p.Name, "backends", i)), fmt.Errorf("pool %s, backend %s: %w", p.Name, b.Address, err)))
			continue
		}
		member := balancer.Member{
			Backend:        &backend.Backend{Address: b.Address.String(), Sockaddr: sockaddr},
			Weight:         b.Weight,
			MaxConnections: int32(b.MaxConnections),
			Priority:       uint8(b.Priority),
			Far:            p.Zone != "" && b.Zone != p.Zone,
		}
		if b.Backup {
			member.Priority = backupPriority
		}
		pool.Members = append(pool.Members, member)
		if p.Health != nil {
			targets = append(targets, health.Target{
				Backend: member.Backend, Addr: addr.toCheck(p.Health.Port), Name: b.Address.Host,
			})
		}
	}
	if failed != nil {
		return nil, errors.Join(failed...)
	}
	if p.Outlier != nil {
		pool.FirstByte = p.Outlier.FirstByte
	}
	if p.Queue != nil {
		pool.QueueTimeout = p.Queue.Timeout
	}
	var err error
	if pool.Balancer, err = balancer.New(pool.Members, balancerOptions(p)); err != nil {
		return nil, fmt.Errorf("pool %s: %w", p.Name, err)
	}
	monitor.watch(p, pool, targets)
	return pool, nil
}

func balancerOptions(p *config.Pool) balancer.Options {
	o := balancer.Options{
		Policy:         p.Policy.String(),
		Seed:           rand.Uint64(),
		SlowStart:      p.SlowStart,
		PanicThreshold: p.PanicThreshold,
	}
	if p.Hash != nil {
		o.HashSeed, o.MaxLoad = p.Hash.Seed, p.Hash.MaxLoad
	}
	if p.Outlier != nil {
		o.Outlier = &balancer.Outlier{
			Failures: p.Outlier.Failures, Eject: p.Outlier.Eject, MaxEjected: p.Outlier.MaxEjected,
		}
	}
	if p.Queue != nil {
		o.Queue = p.Queue.Size
	}
	return o
}

// resolved is a backend's address with its name resolved.
type resolved struct {
	path string // of a unix socket; "" for TCP
	addr netip.AddrPort
}

func resolveBackend(b *config.Backend, names *resolver) (resolved, error) {
	if b.Address.IsUnix() {
		return resolved{path: b.Address.Path}, nil
	}
	ip, err := names.resolve(b.Address)
	return resolved{addr: netip.AddrPortFrom(ip, b.Address.Port)}, err
}

func (r resolved) sockaddr() (*rawsys.Sockaddr, error) {
	if r.path != "" {
		return rawsys.UnixSockaddr(r.path)
	}
	scope, err := rawsys.Scope(r.addr.Addr())
	if err != nil {
		return nil, err
	}
	return rawsys.InetSockaddr(r.addr, scope), nil
}

// toCheck is where health checks go: to another port, if one is given.
func (r resolved) toCheck(port uint16) net.Addr {
	if r.path != "" {
		return &net.UnixAddr{Net: "unix", Name: r.path}
	}
	if port == 0 {
		port = r.addr.Port()
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(r.addr.Addr(), port))
}
