package config

import (
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
	// Hosts are the addresses that host names resolve to.
	Hosts map[string]netip.Addr
}

// canonical is the same for all spellings of one address.
func (m *Machine) canonical(a Address) Address {
	if a.Path != "" {
		a.Path = filepath.Clean(a.Path)
		if m.RealPath != nil {
			a.Path = m.RealPath(a.Path)
		}
		return a
	}
	if ip, ok := m.Hosts[a.Host]; ok && ip.IsValid() {
		a.IP, a.Host = ip, ""
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
