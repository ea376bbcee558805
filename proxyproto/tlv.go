package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"iter"
)

// Types of TLVs, from section 2.2 of the specification.
const (
	TypeALPN      = 0x01 // an ALPN protocol name, such as "h2"
	TypeAuthority = 0x02 // the host name that the client asked for: its SNI
	TypeCRC32C    = 0x03 // the checksum of the whole header
	TypeNoop      = 0x04 // padding
	TypeUniqueID  = 0x05 // names the connection; at most MaxUniqueID bytes
	TypeSSL       = 0x20 // about the client's TLS connection and certificate
	TypeNetNS     = 0x30 // the name of a network namespace

	TypeMinCustom = 0xE0 // the range for what the two ends agree on
	TypeMaxCustom = 0xEF
)

// MaxUniqueID is the longest value of a TLV of type TypeUniqueID, in bytes.
const MaxUniqueID = 128

// tlvHead is the size of type and length.
const tlvHead = 3

// AppendTLV appends one TLV to b. Of a value of more than 65,535 bytes, which has no form in the
// protocol, it appends nothing.
func AppendTLV[V string | []byte](b []byte, kind byte, value V) []byte {
	if len(value) > 0xffff {
		return b
	}
	b = append(b, kind, byte(len(value)>>8), byte(len(value)))
	return append(b, value...)
}

// TLVs goes over the TLVs in b, as types and values, in their order. The values are parts of b. It
// ends before the first TLV that is not complete; those of a Header all are.
func TLVs(b []byte) iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		for rest := b; ; {
			size, ok := first(rest)
			if !ok || !yield(rest[0], rest[tlvHead:size:size]) {
				return
			}
			rest = rest[size:]
		}
	}
}

// first returns the size of the first TLV of b. It is false if there is no complete one.
func first(b []byte) (size int, ok bool) {
	if len(b) < tlvHead {
		return 0, false
	}
	size = tlvHead + int(binary.BigEndian.Uint16(b[1:]))
	return size, size <= len(b)
}

// wellFormed reports whether b consists of complete TLVs.
func wellFormed(b []byte) bool {
	for len(b) > 0 {
		size, ok := first(b)
		if !ok {
			return false
		}
		b = b[size:]
	}
	return true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkSum compares the checksum among the TLVs, which end the header, with that of the header.
func checkSum(header, tlvs []byte) error {
	at, size, ok := checksumAt(tlvs)
	if !ok {
		return nil
	}
	at += len(header) - len(tlvs)
	if size != 4 || binary.BigEndian.Uint32(header[at:]) != sum(header, at) {
		return ErrChecksum
	}
	return nil
}

// checksumAt returns where the value of the first TLV of type TypeCRC32C starts, and its size.
func checksumAt(tlvs []byte) (at, size int, ok bool) {
	for kind, value := range TLVs(tlvs) {
		at += tlvHead
		if kind == TypeCRC32C {
			return at, len(value), true
		}
		at += len(value)
	}
	return 0, 0, false
}

// sum is the CRC32C of a header, with zeros in place of the 4 bytes at the given index.
func sum(header []byte, at int) uint32 {
	var zeros [4]byte
	crc := crc32.Update(0, castagnoli, header[:at])
	crc = crc32.Update(crc, castagnoli, zeros[:])
	return crc32.Update(crc, castagnoli, header[at+len(zeros):])
}
