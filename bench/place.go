package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// The networks of places.
const (
	loopback   = "loopback"
	namespaces = "namespaces"
)

// place is where load, proxy and origin run, and their addresses.
type place struct {
	network string // loopback or namespaces
	about   string // for the report

	clients, proxies, origins site
	// strangers are addresses of the clients' machine that no access control list
	// allows. Each of them allows trusted.
	strangers site
	trusted   netip.Prefix
	// sources are addresses that a client may connect from, enough not to run out
	// of ports.
	sources []string

	remove func() error
}

// openPlace returns the place of a network: loopback, which exists already, or
// namespaces, which it creates. The caller must call close.
func openPlace(ctx context.Context, network string) (*place, error) {
	switch network {
	case loopback:
		return onLoopback(), nil
	case namespaces:
		return inNamespaces(ctx)
	}
	return nil, fmt.Errorf("no network %q: there are %s, %s", network, loopback, namespaces)
}

// close removes what openPlace created. All processes must have ended.
func (p *place) close() error {
	if p.remove == nil {
		return nil
	}
	return p.remove()
}

// client, proxy and origin return the prefix of a command line that runs where the
// load, the proxy or the origin does.
func (p *place) client() []string { return slices.Clone(p.clients.within) }
func (p *place) proxy() []string  { return slices.Clone(p.proxies.within) }
func (p *place) origin() []string { return slices.Clone(p.origins.within) }

// onLoopback returns the place in which all sites are one machine. All of
// 127.0.0.0/8 is local there.
func onLoopback() *place {
	p := newPlace(loopback, 127)
	p.about = "loopback"
	return p
}

// newPlace returns a place with a /16 for each site, within first.0.0.0/8.
func newPlace(network string, first byte) *place {
	site := func(second byte) site {
		return site{network: netip.PrefixFrom(netip.AddrFrom4([4]byte{first, second}), 16)}
	}
	p := &place{
		network: network,
		clients: site(1), proxies: site(2), origins: site(3), strangers: site(4),
		// Without a chosen source address, a client on loopback is 127.0.0.1.
		trusted: netip.PrefixFrom(netip.AddrFrom4([4]byte{first}), 15),
	}
	const sources = 16
	for i := range sources {
		p.sources = append(p.sources, p.clients.host(i))
	}
	return p
}

// site is one machine of a place, or some of its addresses.
type site struct {
	within  []string     // the prefix of a command line that runs there
	network netip.Prefix // a /16; all its addresses are this machine's
}

// hosts is how many addresses of a site are used: almost all of its network.
const hosts = 65_000

// host returns address i. After hosts addresses they repeat.
func (s site) host(i int) string {
	i = i%hosts + 1
	address := s.network.Addr().As4()
	address[2], address[3] = byte(i>>8), byte(i)
	return netip.AddrFrom4(address).String()
}
