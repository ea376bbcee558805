package clientlimit

import (
	"testing"
	"unsafe"

	"l4proxy/internal/testenv"
)

// TestAttackWithAMillionAddresses: an attacker connects once from each of a million networks, more
// than the table of recent clients has room for. Clients that had used up their bursts before stay
// refused, clients that connect for the first time are let in, and the memory stays the same.
func TestAttackWithAMillionAddresses(t *testing.T) {
	million := uint64(1_000_000)
	if testenv.Race {
		million = 3 * Capacity
	}
	const victims, burst = 1000, 3
	limits := Limits{Connections: 10, Rate: 1.0 / 60, Burst: burst}
	l := newLimiter(perAddress, limits)
	now := 1000 * second
	victim := func(i int) uint64 { return million + uint64(i) }
	connect := func(i uint64) Verdict {
		v := l.Take(v6(i), now)
		if v == Counted || v == CountedUnrated {
			l.Release(v6(i))
		}
		return v
	}
	for i := range victims {
		for range burst {
			if v := connect(victim(i)); v != Counted {
				t.Fatalf("verdict %d before the attack", v)
			}
		}
	}
	unrated := 0
	for i := range million {
		switch v := connect(i); v {
		case Counted:
		case CountedUnrated:
			unrated++
		default:
			t.Fatalf("attacker %d: verdict %d for its first connection", i, v)
		}
	}
	for i := range victims {
		if v := connect(victim(i)); v != OverRate {
			t.Fatalf("victim %d: verdict %d: the attack has cleared what it owes", i, v)
		}
	}
	tracked := l.Recent(now)
	if tracked != int(million)+victims-unrated || tracked > Capacity {
		t.Errorf("%d clients tracked, %d not, of %d", tracked, unrated, million+victims)
	}
	if tracked < Capacity*99/100 {
		t.Errorf("%d clients fill the table of %d", tracked, Capacity)
	}
	stranger := million + victims
	for range 100 { // the table is full: its rate is not limited, but it is not kept out
		if v := connect(stranger); v != CountedUnrated && v != Counted {
			t.Fatalf("stranger: verdict %d", v)
		}
	}
	for range limits.Connections { // the number of its connections is
		l.Take(v6(stranger+1), now)
	}
	if v := l.Take(v6(stranger+1), now); v != OverConnections {
		t.Errorf("verdict %d for a stranger with too many connections", v)
	}
	now += 60 * second
	if n := l.Recent(now); n != victims {
		t.Errorf("%d clients owe when the attack is paid for, want the %d victims", n, victims)
	}
	if v := connect(victim(0)); v != Counted {
		t.Errorf("verdict %d for a victim that has waited", v)
	}
}

// TestTableTakesManyClients: the table keeps every client until it is nearly full.
func TestTableTakesManyClients(t *testing.T) {
	l := newLimiter(perAddress, Limits{Rate: 1, Burst: 1})
	unrated := 0
	for i := range uint64(Capacity * 3 / 4) {
		if l.Take(v6(i), second) == CountedUnrated {
			unrated++
		}
	}
	if most := Capacity / 1000; unrated > most {
		t.Errorf("%d clients find no entry in a table that is three quarters full, want %d at most", unrated, most)
	}
}

// TestSize: the memory of a Limiter, as the documentation states it.
func TestSize(t *testing.T) {
	if size := unsafe.Sizeof(shard{}); size != 128 {
		t.Errorf("a shard has %d bytes", size)
	}
	if size := unsafe.Sizeof(rate{}) * Capacity; size != 2<<20 {
		t.Errorf("the table of recent clients has %d bytes", size)
	}
	if size := unsafe.Sizeof(count{}); size != 24 {
		t.Errorf("a client with connections has %d bytes", size)
	}
}
