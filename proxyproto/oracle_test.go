package proxyproto

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	oracle "github.com/pires/go-proxyproto"
	"pgregory.net/rapid"
)

func init() { oracle.MaxV2HeaderSize = MaxV2 - fixedV2 }

// FuzzParse holds Parse against another implementation, and against itself at every cut.
func FuzzParse(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nGET / HTTP/1.1\r\n"))
	f.Add([]byte("PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 0 65535\r\n"))
	f.Add([]byte("PROXY TCP6 1:2:3:4:5:6:7:8 1::3:4:5:6:7:8 1 2\r\n"))
	f.Add([]byte("PROXY UNKNOWN any thing\r\n"))
	f.Add(v2(0x21, 0x11, block4+"02 0003 616263"))
	f.Add(v2(0x21, 0x21, block6+"03 0004 00000000"))
	f.Add(v2(0x20, 0x00, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		checkCuts(t, b, h, n, err)
		if err == nil && n > 0 {
			checkRoundTrip(t, h)
		}
		compare(t, b, h, n, err)
	})
}

// checkCuts parses every start of b: more bytes never change a verdict, and all that are parsed can
// still become a header.
func checkCuts(t *testing.T, b []byte, h Header, n int, err error) {
	cut := 0
	for ; cut < len(b) && cut < 600; cut++ {
		h2, n2, err2 := Parse(b[:cut])
		if err2 != nil {
			if err == nil || err.Error() != err2.Error() {
				t.Fatalf("after %d bytes: %v, with all %d bytes: %v", cut, err2, len(b), err)
			}
			return
		}
		if n2 > 0 {
			if n2 != n || err != nil || h2.Source != h.Source || n > cut {
				t.Fatalf("after %d bytes: %d bytes are a header; with all: %d, %v", cut, n2, n, err)
			}
			return
		}
		if cut < MaxV1 && !canComplete(b[:cut]) {
			t.Fatalf("%q: nothing makes a header of it", b[:cut])
		}
	}
}

// canComplete tries to complete the start of a header. Those of version 2 always can be, and so can
// long lines, where the limit decides.
func canComplete(b []byte) bool {
	if len(b) == 0 || b[0] == '\r' || len(b) > MaxV1-60 {
		return true
	}
	if strings.HasPrefix("PROXY TCP4 ", string(b)) || strings.HasPrefix("PROXY UNKNOWN", string(b)) || strings.HasPrefix("PROXY TCP6 ", string(b)) {
		return true
	}
	for _, ip := range []string{"", "1", ".1", ".1.1", ".1.1.1", "1.1.1.1", "1.1.1", "1.1", ":", "::", ":1", ":1:1", ":1:1:1", ":1:1:1:1", ":1:1:1:1:1",
		":1:1:1:1:1:1", ":1:1:1:1:1:1:1", "1:1", "1:1:1", "1:1:1:1", "1:1:1:1:1", "1:1:1:1:1:1", "1:1:1:1:1:1:1"} {
		for _, rest := range []string{"", " 1.1.1.1", " ::"} {
			for _, ports := range []string{"", " 1", " 1 1", "1 1", "1"} {
				for _, end := range []string{"\r\n", "\n"} {
					if _, n, err := Parse([]byte(string(b) + ip + rest + ports + end)); err == nil && n > 0 {
						return true
					}
				}
			}
		}
	}
	return false
}

func checkRoundTrip(t *testing.T, h Header) {
	b := Append(nil, h)
	got, n, err := Parse(append(slices.Clone(b), "payload"...))
	if err != nil || n != len(b) || got.Version != h.Version || got.Local != h.Local || got.Source != h.Source ||
		got.Destination != h.Destination || !bytes.Equal(got.TLVs, h.TLVs) {
		t.Fatalf("%+v was written as %q and read as %+v, %v", h, b, got, err)
	}
}

// compare holds the result against the oracle's. They differ where the specification leaves a
// choice, or where the oracle leaves it to its caller.
func compare(t *testing.T, b []byte, h Header, n int, err error) {
	reader := bufio.NewReaderSize(bytes.NewReader(b), max(16, len(b)))
	want, wantErr := oracle.Read(reader)
	if err == nil && n == 0 { // more bytes are needed, for which the oracle does not wait
		if wantErr == nil {
			t.Fatalf("%q: the oracle takes it, and Parse wants more", b)
		}
		return
	}
	switch {
	case errors.Is(err, ErrTLV), errors.Is(err, ErrChecksum):
		return // the oracle does not look at them
	case err == nil && h.Version == 1 && !h.Source.IsValid():
		if bytes.IndexByte(b[:n-2], '\n') >= 0 {
			return // the oracle stops at the first LF of what "must be ignored"
		}
	case err == nil && h.Version == 2 && wantErr != nil:
		if family := b[atFamily]; h.Local || family>>4 == familyUnspec || family&0xf == protoUnspec {
			return // "the receiver is free to accept the connection anyway"
		}
	}
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q: %v, the oracle says %v", b, err, wantErr)
	}
	if err != nil {
		return
	}
	if consumed := len(b) - reader.Buffered(); consumed != n {
		t.Fatalf("%q: %d bytes, the oracle took %d", b, n, consumed)
	}
	if h.Local || want.Command.IsLocal() {
		return
	}
	if source, destination := asAddrPort(want.SourceAddr), asAddrPort(want.DestinationAddr); h.Source != source || h.Destination != destination {
		t.Fatalf("%q: %v and %v, the oracle has %v and %v", b, h.Source, h.Destination, source, destination)
	}
	compareTLVs(t, h.TLVs, want)
}

func compareTLVs(t interface{ Fatalf(string, ...any) }, got []byte, want *oracle.Header) {
	tlvs, err := want.TLVs()
	if err != nil {
		t.Fatalf("the oracle cannot read the TLVs: %v", err)
	}
	for kind, value := range TLVs(got) {
		if len(tlvs) == 0 || byte(tlvs[0].Type) != kind || kind != TypeNoop && !bytes.Equal(tlvs[0].Value, value) {
			t.Fatalf("TLV %#x %x, the oracle has %v", kind, value, tlvs)
		}
		tlvs = tlvs[1:]
	}
	if len(tlvs) > 0 {
		t.Fatalf("the oracle has %d more TLVs", len(tlvs))
	}
}

// asAddrPort is the address in the form of Header; unix sockets have none.
func asAddrPort(addr net.Addr) netip.AddrPort {
	var found netip.AddrPort
	switch addr := addr.(type) {
	case *net.TCPAddr:
		found = addr.AddrPort()
	case *net.UDPAddr:
		found = addr.AddrPort()
	default:
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(found.Addr().Unmap(), found.Port())
}

func TestOracleReadsWhatAppendWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addr := rapid.Custom(func(t *rapid.T) netip.AddrPort {
			ip, _ := netip.AddrFromSlice(rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 4, 4), rapid.SliceOfN(rapid.Byte(), 16, 16)).Draw(t, "ip"))
			return netip.AddrPortFrom(ip.Unmap(), rapid.Uint16().Draw(t, "port"))
		})
		h := Header{Version: rapid.IntRange(1, 2).Draw(t, "version"), Source: addr.Draw(t, "source"), Destination: addr.Draw(t, "destination")}
		if h.Version == 2 {
			for range rapid.IntRange(0, 5).Draw(t, "TLVs") {
				// A checksum is compared in a test of its own.
				kind := rapid.SampledFrom([]byte{TypeALPN, TypeAuthority, TypeNoop, TypeUniqueID, TypeMinCustom}).Draw(t, "type")
				h.TLVs = AppendTLV(h.TLVs, kind, rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value"))
			}
		}
		b := Append(nil, h)
		reader := bufio.NewReader(bytes.NewReader(b))
		want, err := oracle.Read(reader)
		if err != nil || reader.Buffered() > 0 {
			t.Fatalf("%q: %v, %d bytes left", b, err, reader.Buffered())
		}
		if int(want.Version) != h.Version || asAddrPort(want.SourceAddr) != h.Source || asAddrPort(want.DestinationAddr) != h.Destination {
			t.Fatalf("%+v was read as %+v", h, want)
		}
		compareTLVs(t, h.TLVs, want)
	})
}
