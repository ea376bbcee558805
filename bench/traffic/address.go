package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// address is an IP address and port in the kernel's form: struct sockaddr_in of ip(7), or sockaddr_in6 of ipv6(7).
type address struct {
	raw  [unix.SizeofSockaddrInet6]byte
	size uint32
}

func newAddress(a netip.AddrPort) address {
	var k address
	binary.BigEndian.PutUint16(k.raw[2:], a.Port())
	if ip := a.Addr().Unmap(); ip.Is4() {
		binary.NativeEndian.PutUint16(k.raw[:], unix.AF_INET)
		copy(k.raw[4:], ip.AsSlice())
		k.size = unix.SizeofSockaddrInet4
	} else {
		binary.NativeEndian.PutUint16(k.raw[:], unix.AF_INET6)
		copy(k.raw[8:], ip.AsSlice())
		k.size = unix.SizeofSockaddrInet6
	}
	return k
}

func (a *address) family() int { return int(binary.NativeEndian.Uint16(a.raw[:])) }

func parseAddresses(texts []string) ([]address, error) {
	addresses := make([]address, len(texts))
	for i, text := range texts {
		parsed, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, err
		}
		if parsed.Addr().Zone() != "" {
			return nil, fmt.Errorf("%s: addresses with a zone are not supported", text)
		}
		addresses[i] = newAddress(parsed)
	}
	return addresses, nil
}

// endpoints are where a client connects to, and from.
type endpoints struct {
	targets, sources []address
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
		e.sources = append(e.sources, newAddress(netip.AddrPortFrom(ip, 0)))
	}
	for _, list := range [][]address{e.targets, e.sources} {
		for i := range list {
			if list[i].family() != e.targets[0].family() {
				return endpoints{}, errors.New("targets and sources are either all IPv4 or all IPv6")
			}
		}
	}
	return e, nil
}

// pair returns target and source for connection number turn: every source meets every target. The source is nil where
// the kernel chooses.
func (e *endpoints) pair(turn uint64) (target, source *address) {
	n := uint64(len(e.targets))
	target = &e.targets[turn%n]
	if len(e.sources) > 0 {
		source = &e.sources[turn/n%uint64(len(e.sources))]
	}
	return target, source
}
