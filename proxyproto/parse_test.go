package proxyproto

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestParseV1(t *testing.T) {
	for _, c := range []struct {
		line                string
		source, destination string
	}{
		{"PROXY TCP4 192.0.2.1 192.0.2.200 56324 443\r\n", "192.0.2.1:56324", "192.0.2.200:443"},
		{"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", "255.255.255.255:65535", "0.0.0.0:0"},
		{"PROXY TCP6 2001:db8::1 2001:DB8::2 1 2\r\n", "[2001:db8::1]:1", "[2001:db8::2]:2"},
		{"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
			"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
		{"PROXY TCP6 ::ffff:192.0.2.1 :: 1 2\r\n", "192.0.2.1:1", "[::]:2"},
	} {
		h, n, err := Parse([]byte(c.line + "payload"))
		if err != nil || n != len(c.line) {
			t.Errorf("%q: %d bytes, %v", c.line, n, err)
			continue
		}
		if h.Version != 1 || h.Source != netip.MustParseAddrPort(c.source) || h.Destination != netip.MustParseAddrPort(c.destination) {
			t.Errorf("%q: %+v", c.line, h)
		}
	}
}

func TestUnknownNamesNoAddress(t *testing.T) {
	for _, line := range []string{
		"PROXY UNKNOWN\r\n",
		"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
		"PROXY UNKNOWN \r \n\r\r\n",
		"PROXY UNKNOWN " + strings.Repeat("x", MaxV1-16) + "\r\n",
	} {
		h, n, err := Parse([]byte(line + "\r\n"))
		if err != nil || n != len(line) || h.Source.IsValid() || h.Version != 1 {
			t.Errorf("%q: %+v, %d bytes, %v", line, h, n, err)
		}
	}
}

// A "|" in a line stands where it becomes one that the protocol does not allow: bytes before are
// fine, and the next one is not.
func TestV1FailsAtTheFirstWrongByte(t *testing.T) {
	for _, c := range []struct {
		line string
		want error
	}{
		{"|GET / HTTP/1.1", ErrNoHeader},
		{"|proxy tcp4", ErrNoHeader},
		{"PROXY|\t", ErrNoHeader},
		{"PROXY | TCP4", ErrLine},
		{"PROXY |tcp4", ErrLine},
		{"PROXY TCP|5", ErrLine},
		{"PROXY TCP|\r\n", ErrLine},
		{"PROXY TCP4 |::1", ErrLine},
		{"PROXY TCP4 25|6", ErrLine},
		{"PROXY TCP4 0|1.2.3.4", ErrLine},
		{"PROXY TCP4 1.2.3| ", ErrLine},
		{"PROXY TCP4 1.2.3.4|.5", ErrLine},
		{"PROXY TCP4 1.2.3.|.", ErrLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 | 1", ErrLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 6553|6", ErrLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 0|1", ErrLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 |-1", ErrLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 1 2|\n", ErrLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 1 2| \r\n", ErrLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r|x", ErrLine},
		{"PROXY TCP6 1|.2.3.4", ErrLine},
		{"PROXY TCP6 :|1", ErrLine},
		{"PROXY TCP6 ::1:|:2", ErrLine},
		{"PROXY TCP6 12345|", ErrLine},
		{"PROXY TCP6 1:2:3:4:5:6:7:8|:9", ErrLine},
		{"PROXY TCP6 1:2:3:4:5:6:7| ", ErrLine},
		{"PROXY TCP6 fe80::1|%eth0", ErrLine},
		{"PROXY TCP6 ::1| ", nil},
		{"PROXY UNKNOWN|X", ErrLine},
		{"PROXY UNKNOWN|\n", ErrLine},
	} {
		good, bad, _ := strings.Cut(c.line, "|")
		if c.line == "PROXY TCP6 12345|" {
			good, bad = "PROXY TCP6 1234", "5"
		}
		for i := range len(good) + 1 {
			if _, n, err := Parse([]byte(good[:i])); n != 0 || err != nil {
				t.Errorf("%q after %d bytes: n=%d, %v", c.line, i, n, err)
			}
		}
		for i := 1; i <= len(bad); i++ {
			if _, n, err := Parse([]byte(good + bad[:i])); n != 0 || !errors.Is(err, c.want) {
				t.Errorf("%q with %q: n=%d, %v; want %v", c.line, bad[:i], n, err, c.want)
			}
		}
	}
}

func TestLineOf107BytesHasToEnd(t *testing.T) {
	line := "PROXY UNKNOWN " + strings.Repeat("x", MaxV1)
	if _, n, err := Parse([]byte(line[:MaxV1-1])); n != 0 || err != nil {
		t.Errorf("106 bytes: n=%d, %v", n, err)
	}
	if _, _, err := Parse([]byte(line[:MaxV1])); !errors.Is(err, ErrLongLine) {
		t.Errorf("107 bytes: %v", err)
	}
	if _, _, err := Parse([]byte(line[:MaxV1-1] + "\r\n")); !errors.Is(err, ErrLongLine) {
		t.Errorf("108 bytes with CRLF: %v", err)
	}
}
