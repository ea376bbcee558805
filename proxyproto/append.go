package proxyproto

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// Append writes h to the end of b.
//
// Without a valid Source and Destination, or with Local, the header names no address: version 1 is
// "PROXY UNKNOWN", version 2 is UNSPEC or LOCAL. If only one of the two addresses is IPv4, both are
// written as IPv6. Zones are not written.
//
// Version 1 has no TLVs. In version 2 they are written as they are, except that a checksum
// (TypeCRC32C with 4 bytes) gets the right value, and that those TLVs are left out which would make
// the header longer than MaxV2.
func Append(b []byte, h Header) []byte {
	named := !h.Local && h.Source.IsValid() && h.Destination.IsValid()
	if h.Version == 1 {
		if !named {
			return append(b, "PROXY UNKNOWN\r\n"...)
		}
		return appendV1(b, h)
	}
	return appendV2(b, h, named)
}

func appendV1(b []byte, h Header) []byte {
	source, destination, four := sameFamily(h)
	if four {
		b = append(b, "PROXY TCP4 "...)
	} else {
		b = append(b, "PROXY TCP6 "...)
	}
	b = source.AppendTo(b)
	b = append(b, ' ')
	b = destination.AppendTo(b)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(h.Source.Port()), 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(h.Destination.Port()), 10)
	return append(b, "\r\n"...)
}

func appendV2(b []byte, h Header, named bool) []byte {
	start := len(b)
	b = append(b, signature...)
	command, family := byte(commandProxy), byte(familyUnspec)
	if h.Local {
		command = commandLocal
	}
	b = append(b, command, family, 0, 0)
	if named {
		source, destination, four := sameFamily(h)
		family = familyInet6
		if four {
			family = familyInet
		}
		b[start+atFamily] = family<<4 | protoStream
		b = appendAddress(b, source, four)
		b = appendAddress(b, destination, four)
		b = binary.BigEndian.AppendUint16(b, h.Source.Port())
		b = binary.BigEndian.AppendUint16(b, h.Destination.Port())
	}
	tlvs := whole(h.TLVs, MaxV2-(len(b)-start))
	atTLVs := len(b) - start
	b = append(b, tlvs...)
	header := b[start:]
	binary.BigEndian.PutUint16(header[atLength:], uint16(len(header)-fixedV2))
	if at, size, ok := checksumAt(tlvs); ok && size == 4 {
		at += atTLVs
		binary.BigEndian.PutUint32(header[at:], sum(header, at))
	}
	return b
}

// sameFamily returns the addresses of h in one family, and whether it is IPv4.
func sameFamily(h Header) (source, destination netip.Addr, four bool) {
	source, destination = h.Source.Addr().Unmap(), h.Destination.Addr().Unmap()
	if source.Is4() && destination.Is4() {
		return source, destination, true
	}
	return netip.AddrFrom16(source.As16()), netip.AddrFrom16(destination.As16()), false
}

func appendAddress(b []byte, addr netip.Addr, four bool) []byte {
	if four {
		ip := addr.As4()
		return append(b, ip[:]...)
	}
	ip := addr.As16()
	return append(b, ip[:]...)
}

// whole returns the TLVs at the start of b that are complete and fit into the limit.
func whole(b []byte, limit int) []byte {
	end := 0
	for {
		size, ok := first(b[end:])
		if !ok || end+size > limit {
			return b[:end]
		}
		end += size
	}
}
