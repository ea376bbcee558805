package bandwidth

import (
	"net/netip"
	"testing"
	"time"
)

func joined(l *Limits, addr string, now int64) (*[Directions][Kinds]Turn, Membership) {
	turns := new([Directions][Kinds]Turn)
	var a netip.Addr
	if addr != "" {
		a = netip.MustParseAddr(addr)
	}
	return turns, l.Join(a, turns, now)
}

func TestClientsShareByPrefix(t *testing.T) {
	l := NewLimits()
	l.Set(Settings{IPv4: 32, IPv6: 64})
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::2:3", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2", true},
		{"2001:db8::1", "192.0.2.1", false},
	} {
		a, ma := joined(l, c.a, 1)
		b, mb := joined(l, c.b, 1)
		for d := range Directions {
			if same := a[d][Client].Bucket() == b[d][Client].Bucket(); same != c.same {
				t.Errorf("%s and %s share: %v", c.a, c.b, same)
			}
			if a[d][Total].Bucket() != b[d][Total].Bucket() || a[d][Connection].Bucket() == b[d][Connection].Bucket() {
				t.Error("connections share the listener's limit, and not their own")
			}
		}
		ma.Leave(1)
		mb.Leave(1)
	}
	if turns, m := joined(l, "", 1); turns[In][Client].Bucket() != nil || turns[In][Client].Limited() {
		t.Error("a client without an address has a limit per client")
	} else {
		m.Leave(1)
	}
}

// TestReconnectingGainsNothing: a client that comes back soon finds its bucket as it has left it.
func TestReconnectingGainsNothing(t *testing.T) {
	var s Settings
	s.IPv4, s.IPv6 = 32, 64
	s.Rates[Client][Out] = 8000
	l := NewLimits()
	l.Set(s)
	turns, m := joined(l, "192.0.2.1", 1)
	if n, _ := turns[Out][Client].Take(1<<20, 1); n != 1600 {
		t.Fatalf("the first burst is %d bytes, want 200ms of the rate", n)
	}
	m.Leave(2)
	turns, m = joined(l, "192.0.2.1", 3)
	if n, _ := turns[Out][Client].Take(1<<20, 3); n != 0 {
		t.Errorf("a new connection gets %d bytes", n)
	}
	turns[Out][Client].Withdraw()
	m.Leave(4)
}

func TestClientsAreForgotten(t *testing.T) {
	l := NewLimits()
	l.Set(Settings{IPv4: 32, IPv6: 64})
	now := int64(1)
	a := netip.MustParseAddr("10.0.0.0")
	var turns [Directions][Kinds]Turn
	stays, mine := joined(l, "2001:db8::1", now)
	for range 5000 {
		a = a.Next()
		now += int64(time.Millisecond)
		l.Join(a, &turns, now).Leave(now)
	}
	if n := len(l.clients); n > 1100 {
		t.Errorf("%d clients are kept, with 1000 new ones per second", n)
	}
	again, other := joined(l, "2001:db8::1", now)
	if again[In][Client].Bucket() != stays[In][Client].Bucket() {
		t.Error("a client with an open connection was forgotten")
	}
	mine.Leave(now)
	other.Leave(now)
	for range 3 {
		now += int64(2 * time.Second)
		for range 2000 {
			l.Join(a, &turns, now).Leave(now)
		}
	}
	if n := len(l.clients); n != 1 {
		t.Errorf("%d clients are kept, of one", n)
	}
}
