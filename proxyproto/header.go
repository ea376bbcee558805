package proxyproto

import (
	"errors"
	"net/netip"
)

// Limits of a header, in bytes.
const (
	// MaxV1 is the longest line of version 1, with its CRLF (section 2.1 of the specification).
	MaxV1 = 107
	// MaxV2 is the longest header of version 2 that Parse accepts and Append writes. The format
	// allows 65,551 bytes. Real ones have less than 300, or a few thousand with a client's
	// certificate; 16 KiB is also HAProxy's limit by default.
	MaxV2 = 16 << 10
	// Max is the longest header of all.
	Max = MaxV2
)

// Header is what a sender says about the connection that it passes on.
type Header struct {
	// Version is 1 or 2.
	Version int
	// Local says that the sender opened the connection for itself, such as for a health check. The
	// connection's own addresses are the right ones, and all other fields are empty.
	Local bool
	// Source and Destination are the addresses of the client and of the socket that it connected
	// to. Both are zero if the header names none: version 1's UNKNOWN, version 2's UNSPEC, LOCAL,
	// and unix sockets. The connection's own addresses are the right ones then.
	//
	// An IPv4 address in IPv6 form (::ffff:192.0.2.1) is an IPv4 address here.
	Source, Destination netip.AddrPort
	// TLVs are the extensions of version 2 as they were sent. They are well formed, and part of the
	// slice that was parsed. They are empty with version 1.
	TLVs []byte
}

// Errors of Parse. After each of them the bytes are no header and can never become one.
var (
	ErrNoHeader = errors.New("no PROXY header: the first bytes are neither version 1 nor version 2")
	ErrLine     = errors.New("bad PROXY header of version 1: not a line that the protocol allows")
	ErrLongLine = errors.New("bad PROXY header of version 1: no end of line within 107 bytes")
	ErrVersion  = errors.New("bad PROXY header of version 2: unknown version or command")
	ErrFamily   = errors.New("bad PROXY header of version 2: unknown address family or protocol")
	ErrShort    = errors.New("bad PROXY header of version 2: shorter than its addresses")
	ErrTooLong  = errors.New("bad PROXY header of version 2: longer than 16 KiB")
	ErrTLV      = errors.New("bad PROXY header of version 2: a TLV does not end where the header ends")
	ErrChecksum = errors.New("bad PROXY header of version 2: wrong CRC32C checksum")
)

// signature starts a header of version 2.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// Parse reads the header at the start of b. n is its length: the payload is b[n:]. n is 0 with a
// nil error if b ends before the header does, and more bytes have to be read.
//
// Parse fails at the first byte with which b can no longer become a header. It looks at no byte
// after the header, and at most at Max bytes, so reading byte by byte costs little.
func Parse(b []byte) (h Header, n int, err error) {
	if len(b) == 0 {
		return Header{}, 0, nil
	}
	if b[0] == signature[0] {
		return parseV2(b)
	}
	return parseV1(b)
}
