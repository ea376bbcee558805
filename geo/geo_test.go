package geo

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
)

func opened(t testing.TB, data []byte, kind Kind) *Database {
	t.Helper()
	d, err := Open(data, kind)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestLookups(t *testing.T) {
	country, asn := opened(t, countries(), Country), opened(t, networks(), ASN)
	for _, test := range []struct {
		addr    string
		country string
		asn     uint32
	}{
		{"192.0.2.1", "KP", 64512}, {"192.0.2.200", "KP", 0}, {"::ffff:192.0.2.1", "KP", 64512}, {"198.51.100.255", "DE", 4200000000},
		{"203.0.113.1", "", 0}, {"2001:db8::1", "NO", 64513}, {"2001:db8::1%eth0", "NO", 64513}, {"2001:db9::1", "", 0}, {"8.8.8.8", "", 0},
	} {
		addr := netip.MustParseAddr(test.addr)
		if got := country.CountryOf(addr); got != test.country {
			t.Errorf("%s: country %q, want %q", addr, got, test.country)
		}
		if got := asn.ASNOf(addr); got != test.asn {
			t.Errorf("%s: AS%d, want %d", addr, got, test.asn)
		}
	}
	if country.CountryOf(netip.Addr{}) != "" || (*Database)(nil).CountryOf(netip.MustParseAddr("192.0.2.1")) != "" || country.ASNOf(netip.MustParseAddr("192.0.2.1")) != 0 {
		t.Error("something is known about a client without an address, without a database or by the wrong one")
	}
}

func TestFlatDatabases(t *testing.T) {
	record := map[string]any{"country": "Germany", "country_code": "DE", "asn": "AS64512"}
	data := mmdb("flat", map[netip.Prefix]any{netip.MustParsePrefix("192.0.2.0/24"): record})
	addr := netip.MustParseAddr("192.0.2.1")
	if got := opened(t, data, Country).CountryOf(addr); got != "DE" {
		t.Errorf("country %q", got)
	}
	if got := opened(t, data, ASN).ASNOf(addr); got != 64512 {
		t.Errorf("AS%d", got)
	}
}

func TestMatcher(t *testing.T) {
	country, asn := opened(t, countries(), Country), opened(t, networks(), ASN)
	m := NewMatcher(country, asn, []string{"DE", "NO"}, []uint32{64512})
	for text, want := range map[string]bool{
		"192.0.2.1": true, "192.0.2.200": false, "198.51.100.1": true, "2001:db8::5": true, "203.0.113.1": false, "8.8.8.8": false,
	} {
		if got := m.Match(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if m.Match(netip.Addr{}) {
		t.Error("a client without an address matches")
	}
	if got := m.Describe(netip.MustParseAddr("192.0.2.1")); got != "country KP, AS64512" {
		t.Error(got)
	}
	addr := netip.MustParseAddr("2001:db8::5")
	if n := testing.AllocsPerRun(100, func() { m.Match(addr) }); n > 0 {
		t.Errorf("a match takes %v allocations", n)
	}
}

func TestWrongFilesAreRefused(t *testing.T) {
	var wrong *TypeError
	if _, err := Open(countries(), ASN); !errors.As(err, &wrong) || wrong.Type != "GeoLite2-Country" {
		t.Errorf("countries as networks: %v", err)
	}
	if _, err := Open(networks(), Country); !errors.As(err, &wrong) {
		t.Errorf("networks as countries: %v", err)
	}
	for _, data := range [][]byte{nil, []byte("<html>please log in</html>"), countries()[:200], slices.Concat(countries()[1000:])} {
		if _, err := Open(data, Country); err == nil {
			t.Errorf("%d bytes were taken for a database", len(data))
		}
	}
}

func TestCodesAreSorted(t *testing.T) {
	if !slices.IsSorted(allCodes) || len(allCodes) != 250 || !IsCode("KP") || IsCode("kp") || IsCode("UK") || IsCode("") {
		t.Errorf("%d codes", len(allCodes))
	}
}

// FuzzOpen: a damaged database is refused, or its lookups do not fail.
func FuzzOpen(f *testing.F) {
	f.Add(countries())
	f.Add(networks())
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		for _, kind := range []Kind{Country, ASN} {
			d, err := Open(data, kind)
			if err != nil {
				continue
			}
			for _, text := range []string{"192.0.2.1", "2001:db8::1", "255.255.255.255", "ffff::", "0.0.0.0"} {
				d.CountryOf(netip.MustParseAddr(text))
				d.ASNOf(netip.MustParseAddr(text))
			}
		}
	})
}

// BenchmarkMatch is over 200,000 networks, about as many as a database of countries has.
func BenchmarkMatch(b *testing.B) {
	all := make(map[netip.Prefix]any, 200_000)
	addrs := make([]netip.Addr, 0, 200_000)
	for i := range uint32(200_000) {
		n := i * 20_000
		addr := netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), 0})
		all[netip.PrefixFrom(addr, 24)] = countryRecord(allCodes[i%200])
		addrs = append(addrs, addr)
	}
	m := NewMatcher(opened(b, mmdb("GeoLite2-Country", all), Country), nil, []string{"KP", "RU"}, nil)
	i := 0
	for b.Loop() {
		m.Match(addrs[i])
		if i += 7919; i >= len(addrs) {
			i -= len(addrs)
		}
	}
}
