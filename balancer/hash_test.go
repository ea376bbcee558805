package balancer

import (
	"math"
	"net/netip"
	"testing"
)

// TestClientKeyNeverChanges holds values that another machine computes too: with others, a new
// version would move all clients.
func TestClientKeyNeverChanges(t *testing.T) {
	for _, c := range []struct {
		seed, addr string
		want       uint64
	}{
		{"", "192.0.2.1", 0x38abf040a695d197},
		{"secret", "192.0.2.1", 0xdb0ee218535220bc},
		{"secret", "2001:db8::1", 0x15a56ebf0311803f},
	} {
		if got := clientKey(netip.MustParseAddr(c.addr), hashSeed(c.seed)); got != c.want {
			t.Errorf("%s with the seed %q is %#x, want %#x", c.addr, c.seed, got, c.want)
		}
	}
	if got, want := hashSeed("secret").backend("192.0.2.1:80"), ([3]uint64{0xb0b42da9684e000d, 0x776b0dac5c9a5814, 0x47582c5dd2cc9d7}); got != want {
		t.Errorf("a backend's hashes are %#x, want %#x", got, want)
	}
}

func TestClientKeyTellsClientsApart(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::c000:201", false},
		{"2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"fe80::1", "fe80::2", false},
		{"fe80::1%eth0", "fe80::1%eth1", true}, // a zone is a name of this machine
	} {
		s := hashSeed("secret")
		a, b := clientKey(netip.MustParseAddr(c.a), s), clientKey(netip.MustParseAddr(c.b), s)
		if (a == b) != c.same {
			t.Errorf("%s is %#x and %s is %#x, want the same: %t", c.a, a, c.b, b, c.same)
		}
	}
}

// TestClientKeySpreads counts neighbouring addresses by the first bits of their hashes, with one
// seed and another: knowing one says nothing about the other.
func TestClientKeySpreads(t *testing.T) {
	const clients, parts = 1 << 16, 16
	one, another := hashSeed("one"), hashSeed("another")
	var counts [parts][parts]int
	for i := range clients {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		counts[clientKey(addr, one)>>60][clientKey(addr, another)>>60]++
	}
	const mean = clients / parts / parts
	for i := range counts {
		for k, n := range counts[i] {
			if math.Abs(float64(n-mean)) > 5*math.Sqrt(mean) {
				t.Errorf("%d of %d clients are in part %d and %d, want about %d", n, clients, i, k, mean)
			}
		}
	}
}

func TestClientKeyDoesNotAllocate(t *testing.T) {
	s, addr := hashSeed("secret"), netip.MustParseAddr("2001:db8::1")
	if n := testing.AllocsPerRun(100, func() { clientKey(addr, s) }); n != 0 {
		t.Errorf("a key allocates %v times", n)
	}
}
