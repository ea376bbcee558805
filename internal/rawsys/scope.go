package rawsys

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Scope is the number of the interface that the zone of a link-local address names; 0 without a
// zone.
func Scope(ip netip.Addr) (uint32, error) {
	zone := ip.Zone()
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	nic, err := net.InterfaceByName(zone)
	if err != nil && strings.HasSuffix(err.Error(), "no such network interface") {
		return 0, fmt.Errorf("no network interface %q: write the name of an existing one after %%", zone)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot look up the network interface %q: %w", zone, err)
	}
	return uint32(nic.Index), nil
}
