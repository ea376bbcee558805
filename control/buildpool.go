package control

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/discovery"
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
			Origin:         buildOrigin(p),
			SendProxy:      sendProxy(p.SendProxy),
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
		pool.Checks = buildChecks(p.Health, checkHeader(p))
		pool.Checks.Checker = health.From(checksFrom(p), pool.Checks.Checker)
	}
	pool.Guard = Guard{MaxRemoved: p.Endpoints.MaxRemoved, Hold: p.Endpoints.Hold}
	var failed []error
	for i := range p.Backends {
		b := &p.Backends[i]
		if b.Down {
			continue // hidden from everything that picks, checks or counts backends
		}
		entry, err := buildEntry(p, b, facts)
		if err != nil {
			failed = append(failed, at(cfg.Where(config.Path("pools", p.Name, "backends", i, "address")),
				fmt.Errorf("pool %s, backend %s: %w", p.Name, b.Address, err)))
			continue
		}
		pool.Entries = append(pool.Entries, entry)
	}
	pool.expand()
	return pool, errors.Join(failed...)
}

func balancerOptions(p *config.Pool) balancer.Options {
	o := balancer.Options{
		Policy:         p.Policy.String(),
		SlowStart:      p.SlowStart,
		PanicThreshold: p.PanicThreshold,
		MaxConnections: int64(p.MaxConnections),
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

func buildEntry(p *config.Pool, b *config.Backend, facts *Facts) (EntryPlan, error) {
	entry := EntryPlan{
		Address: b.Address.String(),
		Member: balancer.Member{
			Weight:         b.Weight,
			MaxConnections: int32(b.MaxConnections),
			Priority:       uint8(b.Priority),
			Far:            p.Zone != "" && b.Zone != p.Zone,
		},
		Port: b.Address.Port,
	}
	if b.Backup {
		entry.Member.Priority = backupPriority
	}
	if p.Health != nil {
		entry.CheckPort, entry.CheckName = p.Health.Port, b.Address.Host
	}
	var err error
	switch {
	case b.Address.IsUnix():
		entry.Path = b.Address.Path
		entry.sockaddr, err = rawsys.UnixSockaddr(b.Address.Path)
	case b.Address.Host != "":
		entry.Source = &SourcePlan{
			Name:   discovery.Name{Host: b.Address.Host, SRV: b.Address.SRV},
			Bounds: discovery.Bounds{Min: p.Resolve.Min, Max: p.Resolve.Max},
			Family: p.Resolve.Family,
		}
		if b.Address.SRV {
			entry.CheckName = "" // that of each host
		}
		entry.Endpoints, err = facts.endpoints(entry.Source)
	default:
		entry.Endpoints = []discovery.Endpoint{{IP: b.Address.IP}}
		entry.scope, err = facts.scope(b.Address.IP)
	}
	return entry, err
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
