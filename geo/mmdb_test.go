package geo

import (
	"encoding/binary"
	"flag"
	"maps"
	"net/netip"
	"os"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write the databases in testdata")

// mmdb makes a database of IPv6, with IPv4 at ::/96, in the MaxMind DB format 2.0.
func mmdb(kind string, networks map[netip.Prefix]any) []byte {
	type node [2]uint32 // 0: empty; below data: a node; else a record
	const record = 1 << 23
	tree := []node{{}}
	var data []byte
	offsets := make(map[string]int) // equal records are written once
	for _, p := range slices.SortedFunc(maps.Keys(networks), netip.Prefix.Compare) {
		text := string(encode(networks[p]))
		at, known := offsets[text]
		if !known {
			at = len(data)
			offsets[text] = at
			data = append(data, text...)
		}
		addr, bits := p.Addr().As16(), p.Bits()
		if p.Addr().Is4() {
			addr, bits = [16]byte(append(make([]byte, 12), p.Addr().AsSlice()...)), bits+96
		}
		n := 0
		for i := range bits {
			bit := addr[i/8] >> (7 - i%8) & 1
			if i == bits-1 {
				tree[n][bit] = record + uint32(at)
				break
			}
			if tree[n][bit] == 0 {
				tree = append(tree, node{})
				tree[n][bit] = uint32(len(tree) - 1)
			}
			n = int(tree[n][bit])
		}
	}
	var out []byte
	for _, n := range tree {
		for _, r := range n {
			switch {
			case r == 0:
				r = uint32(len(tree))
			case r >= record:
				r = r - record + uint32(len(tree)) + 16
			}
			out = append(out, byte(r>>16), byte(r>>8), byte(r))
		}
	}
	out = append(out, make([]byte, 16)...)
	out = append(out, data...)
	out = append(out, "\xab\xcd\xefMaxMind.com"...)
	return append(out, encode(map[string]any{
		"node_count": uint32(len(tree)), "record_size": uint16(24), "ip_version": uint16(6), "database_type": kind,
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": uint64(1767225600),
	})...)
}

// encode writes a value in the form of the data section.
func encode(v any) (out []byte) {
	number := func(n uint64) []byte {
		b := binary.BigEndian.AppendUint64(nil, n)
		for len(b) > 0 && b[0] == 0 {
			b = b[1:]
		}
		return b
	}
	switch v := v.(type) {
	case string:
		if len(v) >= 29 {
			return append([]byte{2<<5 | 29, byte(len(v) - 29)}, v...)
		}
		return append([]byte{2<<5 | byte(len(v))}, v...)
	case uint16:
		b := number(uint64(v))
		return append([]byte{5<<5 | byte(len(b))}, b...)
	case uint32:
		b := number(uint64(v))
		return append([]byte{6<<5 | byte(len(b))}, b...)
	case uint64:
		b := number(v)
		return append([]byte{byte(len(b)), 2}, b...)
	case map[string]any:
		out = []byte{7<<5 | byte(len(v))}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out = append(out, encode(key)...)
			out = append(out, encode(v[key])...)
		}
		return out
	}
	panic("no such type")
}

func countryRecord(code string) any {
	return map[string]any{"country": map[string]any{"iso_code": code}}
}
func asnRecord(n uint32) any {
	return map[string]any{"autonomous_system_number": n, "autonomous_system_organization": "Example"}
}

// countries and networks are the databases in testdata, which other packages use too.
func countries() []byte {
	return mmdb("GeoLite2-Country", map[netip.Prefix]any{
		netip.MustParsePrefix("127.0.0.2/32"): countryRecord("KP"), netip.MustParsePrefix("127.0.0.3/32"): countryRecord("DE"),
		netip.MustParsePrefix("192.0.2.0/24"): countryRecord("KP"), netip.MustParsePrefix("198.51.100.0/24"): countryRecord("DE"),
		netip.MustParsePrefix("203.0.113.0/24"): map[string]any{"registered_country": map[string]any{"iso_code": "US"}},
		netip.MustParsePrefix("2001:db8::/32"):  countryRecord("NO"),
	})
}

func networks() []byte {
	return mmdb("GeoLite2-ASN", map[netip.Prefix]any{
		netip.MustParsePrefix("127.0.0.3/32"): asnRecord(64512), netip.MustParsePrefix("192.0.2.0/25"): asnRecord(64512),
		netip.MustParsePrefix("198.51.100.0/24"): asnRecord(4200000000), netip.MustParsePrefix("2001:db8::/32"): asnRecord(64513),
	})
}

func TestDatabasesOfOtherTests(t *testing.T) {
	for name, want := range map[string][]byte{"testdata/country.mmdb": countries(), "testdata/asn.mmdb": networks()} {
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is not what this test makes (%v): run it with -update", name, err)
		}
	}
}
