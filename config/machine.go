package config

import (
	"net/netip"
	"path"
)

// Machine is what CheckAddresses may know of the machine; the zero value is
// nothing.
type Machine struct {
	// Addresses are those of its network interfaces.
	Addresses []netip.Addr
	// Zones are the numbers of its network interfaces, by name.
	Zones map[string]string
	// RealPath returns a path without symbolic links; nil keeps every path.
	RealPath func(string) string
}

// socket is the same for all paths to one unix socket.
func (a *addressBook) socket(name string) address {
	name = path.Clean(name)
	if a.here.RealPath != nil {
		name = a.here.RealPath(name)
	}
	return address{path: name}
}

// ip reads an address, with its zone as a number if that is known.
func (a *addressBook) ip(host string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(host)
	switch number, ok := a.here.Zones[ip.Zone()]; {
	case err != nil:
	case !ip.IsLinkLocalUnicast():
		ip = ip.WithZone("") // the kernel ignores it
	case ok:
		ip = ip.WithZone(number)
	}
	return ip, err
}
