package proxyproto

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// v2 makes a header from version and command, family and protocol, and what follows in hexadecimal.
func v2(command, family byte, hexBlock string) []byte {
	block, err := hex.DecodeString(strings.ReplaceAll(hexBlock, " ", ""))
	if err != nil {
		panic(err)
	}
	head := append([]byte(signature), command, family, byte(len(block)>>8), byte(len(block)))
	return append(head, block...)
}

const (
	block4 = "c0000201 c00002c8 dc04 01bb"
	block6 = "20010db8000000000000000000000001 20010db8000000000000000000000002 dc04 01bb"
)

func TestParseV2(t *testing.T) {
	four := [2]string{"192.0.2.1:56324", "192.0.2.200:443"}
	six := [2]string{"[2001:db8::1]:56324", "[2001:db8::2]:443"}
	unixBlock := strings.Repeat("2f", unixSize)
	for _, c := range []struct {
		name      string
		header    []byte
		addresses [2]string
		tlvs      int
		local     bool
	}{
		{"TCP over IPv4", v2(0x21, 0x11, block4), four, 0, false},
		{"UDP over IPv4", v2(0x21, 0x12, block4), four, 0, false},
		{"TCP over IPv6", v2(0x21, 0x21, block6), six, 0, false},
		{"IPv4 in IPv6 form", v2(0x21, 0x21, "00000000000000000000ffffc0000201 00000000000000000000ffffc00002c8 dc04 01bb"), four, 0, false},
		{"with TLVs", v2(0x21, 0x11, block4+"02 0003 616263 04 0000"), four, 9, false},
		{"unix", v2(0x21, 0x31, unixBlock+"04 0000"), [2]string{}, 3, false},
		{"UNSPEC", v2(0x21, 0x00, ""), [2]string{}, 0, false},
		{"UNSPEC with TLVs", v2(0x21, 0x00, "02 0003 616263"), [2]string{}, 6, false},
		{"UNSPEC with addresses", v2(0x21, 0x00, block4), [2]string{}, 0, false},
		{"IPv4 without a protocol", v2(0x21, 0x10, block4), [2]string{}, 0, false},
		{"LOCAL", v2(0x20, 0x00, ""), [2]string{}, 0, true},
		{"LOCAL with a block", v2(0x20, 0x11, block4+"02"), [2]string{}, 0, true},
		{"LOCAL of unknown family", v2(0x20, 0xff, "00"), [2]string{}, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.header { // at every length that is too short
				if _, n, err := Parse(c.header[:i]); n != 0 || err != nil {
					t.Fatalf("after %d bytes: n=%d, %v", i, n, err)
				}
			}
			h, n, err := Parse(append(slices.Clone(c.header), "payload"...))
			if err != nil || n != len(c.header) {
				t.Fatalf("%d of %d bytes, %v", n, len(c.header), err)
			}
			var want Header
			if c.addresses[0] != "" {
				want.Source, want.Destination = netip.MustParseAddrPort(c.addresses[0]), netip.MustParseAddrPort(c.addresses[1])
			}
			if h.Version != 2 || h.Local != c.local || h.Source != want.Source || h.Destination != want.Destination || len(h.TLVs) != c.tlvs {
				t.Errorf("got %+v", h)
			}
			if cap(h.TLVs) != len(h.TLVs) {
				t.Error("appending to the TLVs would write into the payload")
			}
		})
	}
}

func TestBadV2(t *testing.T) {
	long := append([]byte(signature), 0x21, 0x11, 0x3f, 0xf1)
	for _, c := range []struct {
		name   string
		header []byte
		at     int // the length at which it fails
		want   error
	}{
		{"signature", []byte("\r\n\r\n\x00\r\nQUIT\r"), 12, ErrNoHeader},
		{"start of an HTTP request", []byte("\r\n\r\nGET"), 5, ErrNoHeader},
		{"version", v2(0x11, 0x11, block4), 13, ErrVersion},
		{"command", v2(0x22, 0x11, block4), 13, ErrVersion},
		{"family", v2(0x21, 0x41, block4), 14, ErrFamily},
		{"protocol", v2(0x21, 0x13, block4), 14, ErrFamily},
		{"length below IPv4", v2(0x21, 0x11, block4[:len(block4)-2]), 16, ErrShort},
		{"length below IPv6", v2(0x21, 0x21, block4), 16, ErrShort},
		{"length below unix", v2(0x21, 0x31, block6), 16, ErrShort},
		{"length of 16 KiB", append([]byte(signature), 0x21, 0x11, 0x40, 0x00), 15, ErrTooLong},
		{"one byte too long", long, 16, ErrTooLong},
		{"TLV beyond the end", v2(0x21, 0x11, block4+"02 0004 616263"), 34, ErrTLV},
		{"half a TLV", v2(0x21, 0x11, block4+"02"), 29, ErrTLV},
		{"checksum", v2(0x21, 0x11, block4+"03 0004 01020304"), 35, ErrChecksum},
		{"checksum of 3 bytes", v2(0x21, 0x11, block4+"03 0003 010203"), 34, ErrChecksum},
	} {
		for i := range len(c.header) + 1 {
			_, n, err := Parse(c.header[:i])
			if n != 0 || (i < c.at) != (err == nil) || err != nil && !errors.Is(err, c.want) {
				t.Errorf("%s after %d bytes: n=%d, %v; want %v after %d", c.name, i, n, err, c.want, c.at)
			}
		}
	}
}

// The checksum is of RFC 4960's CRC32C over the header with zeros in its place; this one was
// computed bit by bit.
func TestChecksum(t *testing.T) {
	header := v2(0x21, 0x11, block4+"04 0001 ff 03 0004 00000000 04 0000")
	crc := ^uint32(0)
	for _, c := range header {
		crc ^= uint32(c)
		for range 8 {
			crc = crc>>1 ^ 0x82f63b78&-(crc&1)
		}
	}
	crc = ^crc
	at := fixedV2 + inetSize + 4 + tlvHead
	good := slices.Clone(header)
	copy(good[at:], []byte{byte(crc >> 24), byte(crc >> 16), byte(crc >> 8), byte(crc)})
	h, _, err := Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if i == atCommand || i == atFamily || i == at-tlvHead {
			continue // LOCAL and UNSPEC make the block something to skip; of another type, it is no checksum
		}
		bad := slices.Clone(good)
		bad[i] ^= 1
		if _, n, err := Parse(bad); err == nil && n != 0 {
			t.Errorf("byte %d changed: accepted", i)
		}
	}
	h.TLVs = header[fixedV2+inetSize:] // with zeros as the checksum
	if got := Append(nil, h); !bytes.Equal(got, good) {
		t.Errorf("Append wrote\n%x, want\n%x", got, good)
	}
}

func TestAppendWritesNoMoreThanItDeclares(t *testing.T) {
	source, destination := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[2001:db8::2%eth0]:2")
	var tlvs []byte
	for i := range 20 {
		tlvs = AppendTLV(tlvs, TypeMinCustom, bytes.Repeat([]byte{byte(i)}, 1000))
	}
	b := Append([]byte("before"), Header{Version: 2, Source: source, Destination: destination, TLVs: tlvs})
	h, n, err := Parse(b[len("before"):])
	if err != nil || n != len(b)-len("before") {
		t.Fatalf("%d of %d bytes, %v", n, len(b), err)
	}
	if h.Source != source || h.Destination != netip.MustParseAddrPort("[2001:db8::2]:2") {
		t.Errorf("got %v and %v", h.Source, h.Destination)
	}
	if len(h.TLVs) != 16*1003 || !bytes.HasPrefix(tlvs, h.TLVs) {
		t.Errorf("%d bytes of TLVs, want the 16 that fit", len(h.TLVs))
	}
	if got := AppendTLV(nil, TypeNoop, make([]byte, 65536)); len(got) != 0 {
		t.Errorf("a value of 65,536 bytes became %d bytes", len(got))
	}
}

func TestAppendWithoutAddresses(t *testing.T) {
	if got := string(Append(nil, Header{Version: 1})); got != "PROXY UNKNOWN\r\n" {
		t.Errorf("version 1: %q", got)
	}
	if got := Append(nil, Header{Version: 2}); !bytes.Equal(got, v2(0x21, 0, "")) {
		t.Errorf("version 2: %x", got)
	}
	source := netip.MustParseAddrPort("192.0.2.1:1")
	if got := Append(nil, Header{Version: 2, Local: true, Source: source, Destination: source}); !bytes.Equal(got, v2(0x20, 0, "")) {
		t.Errorf("LOCAL: %x", got)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	first := []byte("PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n")
	second := v2(0x21, 0x11, block4+"02 0003 616263")
	out := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		h, _, _ := Parse(first)
		out = Append(out[:0], h)
		h, _, _ = Parse(second)
		for range TLVs(h.TLVs) {
		}
		out = Append(out[:0], h)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
