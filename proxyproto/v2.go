package proxyproto

import (
	"encoding/binary"
	"net/netip"
)

// What stands where in a header of version 2.
const (
	atCommand = 12 // version and command
	atFamily  = 13 // address family and protocol
	atLength  = 14 // of what follows, 2 bytes
	fixedV2   = 16

	commandLocal = 0x20
	commandProxy = 0x21

	familyUnspec = 0x0
	familyInet   = 0x1
	familyInet6  = 0x2
	familyUnix   = 0x3
	protoUnspec  = 0x0
	protoStream  = 0x1
	protoDgram   = 0x2

	inetSize  = 2*4 + 2*2
	inet6Size = 2*16 + 2*2
	unixSize  = 2 * 108
)

// parseV2 reads a binary header.
func parseV2(b []byte) (Header, int, error) {
	for i := range min(len(b), len(signature)) {
		if b[i] != signature[i] {
			return Header{}, 0, ErrNoHeader
		}
	}
	if len(b) > atCommand && b[atCommand] != commandLocal && b[atCommand] != commandProxy {
		return Header{}, 0, ErrVersion
	}
	if len(b) <= atFamily {
		return Header{}, 0, nil
	}
	local := b[atCommand] == commandLocal
	family, proto := b[atFamily]>>4, b[atFamily]&0xf
	if !local && (family > familyUnix || proto > protoDgram) {
		return Header{}, 0, ErrFamily
	}
	if len(b) > atLength && b[atLength] > (MaxV2-fixedV2)>>8 {
		return Header{}, 0, ErrTooLong
	}
	if len(b) < fixedV2 {
		return Header{}, 0, nil
	}
	length := int(binary.BigEndian.Uint16(b[atLength:]))
	end := fixedV2 + length
	if end > MaxV2 {
		return Header{}, 0, ErrTooLong
	}
	if !local && proto != protoUnspec && length < addressSize(family) {
		return Header{}, 0, ErrShort
	}
	if len(b) < end {
		return Header{}, 0, nil
	}
	h := Header{Version: 2, Local: local}
	if local { // "discard the protocol block including the family which is ignored"
		return h, end, nil
	}
	err := h.readBlock(b[:end:end], family, proto)
	if err != nil {
		return Header{}, 0, err
	}
	return h, end, nil
}

// addressSize is the length of the addresses of a family.
func addressSize(family byte) int {
	switch family {
	case familyInet:
		return inetSize
	case familyInet6:
		return inet6Size
	case familyUnix:
		return unixSize
	}
	return 0
}

// readBlock reads addresses and TLVs of the header b.
//
// Where family or protocol is UNSPEC, "the receiver should ignore address information", of which
// nothing says how long it is. So what follows are TLVs only if they read as such.
func (h *Header) readBlock(b []byte, family, proto byte) error {
	block := b[fixedV2:]
	if family == familyUnspec || proto == protoUnspec {
		if family == familyUnspec && wellFormed(block) {
			h.TLVs = block
			return checkSum(b, block)
		}
		return nil
	}
	size := addressSize(family)
	switch family {
	case familyInet:
		h.Source = addrPort(netip.AddrFrom4([4]byte(block)), block[8:])
		h.Destination = addrPort(netip.AddrFrom4([4]byte(block[4:])), block[10:])
	case familyInet6:
		h.Source = addrPort(netip.AddrFrom16([16]byte(block)), block[32:])
		h.Destination = addrPort(netip.AddrFrom16([16]byte(block[16:])), block[34:])
	}
	h.TLVs = block[size:]
	if !wellFormed(h.TLVs) {
		return ErrTLV
	}
	return checkSum(b, h.TLVs)
}

func addrPort(addr netip.Addr, port []byte) netip.AddrPort {
	return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(port))
}
