package traffic

import (
	"errors"
	"fmt"
	"net/netip"

	"l4proxy/internal/rawsys"
)

func parseAddresses(texts []string) ([]*rawsys.Sockaddr, error) {
	addresses := make([]*rawsys.Sockaddr, len(texts))
	for i, text := range texts {
		parsed, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, err
		}
		if parsed.Addr().Zone() != "" {
			return nil, fmt.Errorf("%s: addresses with a zone are not supported", text)
		}
		addresses[i] = rawsys.InetSockaddr(parsed, 0)
	}
	return addresses, nil
}

// endpoints are the addresses that a client connects to and from.
type endpoints struct {
	targets, sources []*rawsys.Sockaddr
}

func newEndpoints(spec *ClientSpec) (endpoints, error) {
	targets, err := parseAddresses(spec.Target)
	if err != nil {
		return endpoints{}, fmt.Errorf("target: %w", err)
	}
	e := endpoints{targets: targets}
	for _, text := range spec.Sources {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return endpoints{}, fmt.Errorf("source: %w", err)
		}
		e.sources = append(e.sources, rawsys.InetSockaddr(netip.AddrPortFrom(ip, 0), 0))
	}
	for _, list := range [][]*rawsys.Sockaddr{e.targets, e.sources} {
		for _, addr := range list {
			if addr.Family() != e.targets[0].Family() {
				return endpoints{}, errors.New("targets and sources are either all IPv4 or all IPv6")
			}
		}
	}
	return e, nil
}

// pair returns target and source for connection number turn: every source meets every target. The
// source is nil if the kernel chooses it.
func (e *endpoints) pair(turn uint64) (target, source *rawsys.Sockaddr) {
	n := uint64(len(e.targets))
	target = e.targets[turn%n]
	if len(e.sources) > 0 {
		source = e.sources[turn/n%uint64(len(e.sources))]
	}
	return target, source
}
