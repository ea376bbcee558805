package control

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/health"
	"l4proxy/internal/rawsys"
	"l4proxy/proxy"
)

// backupPriority is the priority of backends marked as backup. It comes after every priority that a
// configuration can set.
const backupPriority = 10

// buildPool makes one pool. The error has a line for each backend whose address cannot be used.
func buildPool(cfg *config.Config, p *config.Pool, facts *Facts) (PoolPlan, error) {
	pool := PoolPlan{
		Pool: proxy.Pool{
			Name:           p.Name,
			ConnectTimeout: p.Connect.Timeout,
			Attempts:       p.Connect.Attempts,
			Hedge:          p.Connect.Hedge,
		},
		Options: balancerOptions(p),
		Rules: Rules{
			OnDown:         p.OnDown,
			OnRemoved:      p.OnRemoved,
			OnRecovered:    p.OnRecovered,
			Spread:         p.Spread,
			PanicThreshold: p.PanicThreshold,
		},
	}
	if p.Outlier != nil {
		pool.FirstByte = p.Outlier.FirstByte
	}
	if p.Queue != nil {
		pool.QueueTimeout = p.Queue.Timeout
	}
	if p.Rebalance != nil {
		pool.Rules.Rebalance = Rebalance{Rate: p.Rebalance.Rate, Jitter: float64(p.Rebalance.Jitter) / 100}
	}
	if p.Health != nil {
		pool.Checks = buildChecks(p.Health)
	}
	pool.Members = make([]MemberPlan, 0, len(p.Backends))
	if pool.Checks != nil {
		pool.Checks.Targets = make([]health.Target, 0, len(p.Backends))
	}
	var failed []error
	for i := range p.Backends {
		b := &p.Backends[i]
		if b.Down {
			continue // hidden from everything that picks, checks or counts backends
		}
		member, err := buildMember(p, b, facts)
		if err != nil {
			failed = append(failed, at(cfg.Where(config.Path("pools", p.Name, "backends", i, "address")),
				fmt.Errorf("pool %s, backend %s: %w", p.Name, b.Address, err)))
			continue
		}
		pool.Members = append(pool.Members, member)
		if p.Health != nil {
			pool.Checks.Targets = append(pool.Checks.Targets,
				health.Target{Addr: member.Key.Endpoint.toCheck(p.Health.Port), Name: b.Address.Host})
		}
	}
	return pool, errors.Join(failed...)
}

func balancerOptions(p *config.Pool) balancer.Options {
	o := balancer.Options{
		Policy:         p.Policy.String(),
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

func buildMember(p *config.Pool, b *config.Backend, facts *Facts) (MemberPlan, error) {
	m := MemberPlan{
		Key: BackendKey{Address: b.Address.String()},
		Member: balancer.Member{
			Weight:         b.Weight,
			MaxConnections: int32(b.MaxConnections),
			Priority:       uint8(b.Priority),
			Far:            p.Zone != "" && b.Zone != p.Zone,
		},
	}
	if b.Backup {
		m.Priority = backupPriority
	}
	if b.Address.IsUnix() {
		m.Key.Endpoint.Path = b.Address.Path
		var err error
		m.Sockaddr, err = rawsys.UnixSockaddr(b.Address.Path)
		return m, err
	}
	ip, scope, err := facts.ip(b.Address)
	m.Key.Endpoint.TCP = netip.AddrPortFrom(ip, b.Address.Port)
	m.Sockaddr = rawsys.InetSockaddr(m.Key.Endpoint.TCP, scope)
	return m, err
}

// toCheck is the address for health checks, on another port if one is given.
func (e Endpoint) toCheck(port uint16) net.Addr {
	if e.Path != "" {
		return &net.UnixAddr{Net: "unix", Name: e.Path}
	}
	if port == 0 {
		port = e.TCP.Port()
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(e.TCP.Addr(), port))
}
