package config

import (
	"net/netip"
	"slices"
)

// SourceAddress is where the connections to the backends of a pool come from. The zero value leaves
// that to the kernel.
type SourceAddress struct {
	// Client: they come from the address of the client.
	Client bool
	// Addresses are those of this machine that are used in turn.
	Addresses []netip.Addr
}

const maxSources = 64 // of one pool

// sourceValue is the word client, or a list of addresses.
type sourceValue struct {
	dst  *SourceAddress
	many list[netip.Addr]
}

func sourceAddress(dst *SourceAddress) value {
	return sourceValue{dst, listOf(&dst.Addresses, sourceIP).orOne().most(maxSources)}
}

func (v sourceValue) reset()        { *v.dst = SourceAddress{} }
func (v sourceValue) shown() string { return "" }

func (v sourceValue) decode(d *decoder, n *node, p *path) {
	if n.kind == kindString {
		text, _, ok := d.scalar(n, p)
		if !ok {
			return
		}
		if text == "client" {
			v.dst.Client = true
			return
		}
	}
	v.many.decode(d, n, p)
}

func (v sourceValue) check(c *checker, p *path) {
	v.many.check(c, p)
	c.refuse(v.dst.Client && len(v.dst.Addresses) > 0, p, "write one of them", "source is either client or a list of addresses")
	for i, ip := range v.dst.Addresses {
		if first := slices.Index(v.dst.Addresses, ip); first < i && ip.IsValid() {
			c.faultf(p.item(i), "remove it", "the address %s is repeated", ip)
		}
	}
}

func (v sourceValue) schema() schema { return anyOf(schema{"const": "client"}, v.many.schema()) }

func (v sourceValue) current() string {
	if v.dst.Client {
		return "client"
	}
	return v.many.current()
}

// plain implements plainValue.
func (v sourceValue) plain() any {
	switch {
	case v.dst.Client:
		return "client"
	case v.dst.Addresses == nil:
		return nil
	}
	return v.dst.Addresses
}

// sourceIP is an address of this machine.
func sourceIP(dst *netip.Addr) value {
	return scalar[netip.Addr]{
		dst: dst, as: asString, what: "client, or an IP address of this machine", typ: anyText,
		parse: func(text string) (netip.Addr, *Fault) {
			ip, err := netip.ParseAddr(text)
			if err != nil {
				return ip, unreadable("write client, or an address such as 10.0.0.5, without a port")
			}
			return ip.Unmap(), nil
		},
		bounds: func(ip netip.Addr) *Fault {
			switch {
			case ip.IsUnspecified():
				return faultf("remove it", "%s is not an address to connect from: without source, the kernel chooses one", ip)
			case ip.IsMulticast(), ip.IsLinkLocalUnicast(), ip.Zone() != "":
				return faultf("write another address of this machine", "%s cannot be used to connect from", ip)
			}
			return nil
		},
	}
}

// sources checks the source addresses of a pool against its backends.
func (c *checker) sources(p *Pool, at *path) {
	from := p.SourceAddress
	if !from.Client && len(from.Addresses) == 0 || len(p.Backends) == 0 {
		return
	}
	onlyUnix := !slices.ContainsFunc(p.Backends, func(b Backend) bool { return !b.Address.IsUnix() })
	c.refuse(onlyUnix, at.child("source"), "remove it", "source has no effect on backends that are unix sockets")
	if from.Client {
		return
	}
	for i := range p.Backends {
		ip := p.Backends[i].Address.IP
		if ip.IsValid() && !slices.ContainsFunc(from.Addresses, func(own netip.Addr) bool { return own.Is4() == ip.Is4() }) {
			f := faultf("add one", "source has no %s address for the backend %s", family(ip), p.Backends[i].Address)
			f.See = []string{Path("pools", p.Name, "backends", i, "address")}
			c.add(at.child("source"), f)
			return
		}
	}
}

func family(ip netip.Addr) string {
	if ip.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
