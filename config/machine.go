package config

import (
	"cmp"
	"net/netip"
	"path/filepath"
	"strings"
)

// Machine is what CheckAddresses may know about the machine that the proxy runs on. The zero value
// knows nothing.
type Machine struct {
	// Addresses are those of its network interfaces.
	Addresses []netip.Addr
	// Zones are the numbers of its network interfaces, by name.
	Zones map[string]string
	// RealPath returns a path without symbolic links; nil keeps every path.
	RealPath func(string) string
	// Hosts are the addresses that names stand for, by [Address.Name]. Port 0 is the port of the
	// Address.
	Hosts map[string][]netip.AddrPort
}

// resolved returns the addresses that a stands for: a itself, unless it is a name that is known.
func (m *Machine) resolved(a Address) []Address {
	known := m.Hosts[a.Name()]
	if a.Host == "" || len(known) == 0 {
		return []Address{a}
	}
	addresses := make([]Address, len(known))
	for i, ap := range known {
		addresses[i] = Address{IP: ap.Addr(), Port: cmp.Or(ap.Port(), a.Port)}
	}
	return addresses
}

// canonical is the same for all spellings of one address. A name is the first of its addresses.
func (m *Machine) canonical(a Address) Address {
	if a.IsAbstract() {
		return a
	}
	if a.Path != "" {
		a.Path = filepath.Clean(a.Path)
		if m.RealPath != nil {
			a.Path = m.RealPath(a.Path)
		}
		return a
	}
	if a.Host != "" {
		a = m.resolved(a)[0]
	}
	a.Host = strings.TrimSuffix(a.Host, ".")
	switch number, ok := m.Zones[a.IP.Zone()]; {
	case !a.IP.IsLinkLocalUnicast():
		a.IP = a.IP.WithZone("") // the kernel ignores it
	case ok:
		a.IP = a.IP.WithZone(number)
	}
	return a
}
