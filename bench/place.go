package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// The networks that there are places in.
const (
	loopback   = "loopback"
	namespaces = "namespaces"
)

// place is where load, proxy and origin run, and what addresses they have.
type place struct {
	network string // loopback or namespaces
	about   string // for the report

	clients, proxies, origins site
	// strangers are addresses of the clients' machine that no access control
	// list allows; trusted is what each of them allows.
	strangers site
	trusted   netip.Prefix
	// sources are addresses that a client may connect from, so many that it
	// does not run out of ports.
	sources []string

	remove func() error
}

// openPlace makes the place of a network: loopback, which is there already, or
// namespaces, which are made for the process. close is to be called.
func openPlace(ctx context.Context, network string) (*place, error) {
	switch network {
	case loopback:
		return onLoopback(), nil
	case namespaces:
		return inNamespaces(ctx)
	}
	return nil, fmt.Errorf("no network %q: there are %s, %s", network, loopback, namespaces)
}

// close removes what openPlace made. All processes have ended before.
func (p *place) close() error {
	if p.remove == nil {
		return nil
	}
	return p.remove()
}

// client, proxy and origin return what a command line begins with to run where
// the load, the proxy or the origin does.
func (p *place) client() []string { return slices.Clone(p.clients.within) }
func (p *place) proxy() []string  { return slices.Clone(p.proxies.within) }
func (p *place) origin() []string { return slices.Clone(p.origins.within) }

// onLoopback returns the place in which everybody is one machine. All of
// 127.0.0.0/8 is local there.
func onLoopback() *place {
	p := newPlace(loopback, 127)
	p.about = "loopback"
	return p
}

// newPlace returns a place with a /16 for each site, all of which begin with
// the number first.
func newPlace(network string, first byte) *place {
	site := func(second byte) site {
		return site{network: netip.PrefixFrom(netip.AddrFrom4([4]byte{first, second}), 16)}
	}
	p := &place{
		network: network,
		clients: site(1), proxies: site(2), origins: site(3), strangers: site(4),
		// Who does not choose a source address is on loopback 127.0.0.1.
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
	within  []string     // what a command line begins with to run there
	network netip.Prefix // a /16, of which every address is this machine's
}

// hosts is how many addresses a site gives away: all but the first and the last
// of its network, about.
const hosts = 65_000

// host returns an address, the same one again after as many as there are.
func (s site) host(i int) string {
	i = i%hosts + 1
	address := s.network.Addr().As4()
	address[2], address[3] = byte(i>>8), byte(i)
	return netip.AddrFrom4(address).String()
}
