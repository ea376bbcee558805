package control

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/eventloop"
	"l4proxy/health"
	"l4proxy/proxy"
)

// backupPriority is that of backends marked as backup: after all that a configuration can give.
const backupPriority = 10

// buildPool makes one pool and has the monitor watch over it.
func buildPool(ctx context.Context, p *config.Pool, names *resolver, monitor *Monitor) (*proxy.Pool, error) {
	pool := &proxy.Pool{
		Name:           p.Name,
		Backends:       make([]*backend.Backend, len(p.Backends)),
		Addrs:          make([]*eventloop.Sockaddr, len(p.Backends)),
		ConnectTimeout: p.Connect.Timeout,
		Attempts:       p.Connect.Attempts,
		Hedge:          p.Connect.Hedge,
	}
	var targets []health.Target
	for i := range p.Backends {
		b := &p.Backends[i]
		addr, err := resolveBackend(ctx, b, names)
		if err != nil {
			return nil, fmt.Errorf("pool %s, backend %s: %w", p.Name, b.Address, err)
		}
		pool.Backends[i] = &backend.Backend{
			Address:        b.Address,
			Pool:           p.Name,
			Weight:         b.Weight,
			Index:          i,
			MaxConnections: int32(b.MaxConnections),
			Priority:       uint8(b.Priority),
			Far:            p.Zone != "" && b.Zone != p.Zone,
		}
		if b.Backup {
			pool.Backends[i].Priority = backupPriority
		}
		if pool.Addrs[i], err = addr.sockaddr(); err != nil {
			return nil, fmt.Errorf("pool %s, backend %s: %w", p.Name, b.Address, err)
		}
		if p.Health != nil {
			targets = append(targets, health.Target{
				Backend: pool.Backends[i], Addr: addr.toCheck(p.Health.Port), Name: hostName(b),
			})
		}
	}
	if p.Outlier != nil {
		pool.FirstByte = p.Outlier.FirstByte
	}
	if p.Queue != nil {
		pool.QueueTimeout = p.Queue.Timeout
	}
	options := balancerOptions(p)
	options.Notify = monitor.notify
	var err error
	if pool.Balancer, err = balancer.New(pool.Backends, options); err != nil {
		return nil, fmt.Errorf("pool %s: %w", p.Name, err)
	}
	monitor.watch(p, pool, targets)
	return pool, nil
}

func balancerOptions(p *config.Pool) balancer.Options {
	o := balancer.Options{
		Policy:         p.Policy,
		Seed:           rand.Uint64(),
		HashSeed:       p.Hash.Seed,
		MaxLoad:        p.Hash.MaxLoad,
		SlowStart:      p.SlowStart,
		PanicThreshold: p.PanicThreshold,
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

func resolveBackend(ctx context.Context, b *config.Backend, names *resolver) (resolved, error) {
	if b.Network == "unix" {
		return resolved{path: b.Path}, nil
	}
	ip, err := names.resolve(ctx, b.Host)
	return resolved{addr: netip.AddrPortFrom(ip, b.Port)}, err
}

func (r resolved) sockaddr() (*eventloop.Sockaddr, error) {
	if r.path != "" {
		return eventloop.UnixSockaddr(r.path)
	}
	scope, err := scopeOf(r.addr.Addr())
	if err != nil {
		return nil, err
	}
	return eventloop.InetSockaddr(r.addr, scope), nil
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
