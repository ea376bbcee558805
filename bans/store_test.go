package bans

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"l4proxy/acl"
)

// testClock is both clocks of a Store.
type testClock struct {
	now  int64
	wall time.Time
}

func newTestClock() *testClock {
	return &testClock{now: int64(time.Hour), wall: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func (c *testClock) pass(d time.Duration) { c.now, c.wall = c.now+int64(d), c.wall.Add(d) }

func (c *testClock) options() Options {
	return Options{Now: func() int64 { return c.now }, Wall: func() time.Time { return c.wall }}
}

func mustPut(t testing.TB, s *Store, entries ...Entry) Outcome {
	t.Helper()
	out, err := s.Put(entries)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func banned(s *Store, addr string) bool {
	return s.Find(netip.MustParseAddr(addr), s.Now()) != nil
}

// naive is the obvious twin: a list of bans, each with its end.
type naive map[netip.Prefix]*naiveBan

type naiveBan struct {
	until  int64 // 0: never
	source string
}

func (n naive) banned(addr netip.Addr, now int64) bool {
	for p, b := range n {
		if p.Contains(addr.Unmap().WithZone("")) && (b.until == 0 || b.until > now) {
			return true
		}
	}
	return false
}

// genPrefix draws from a space so narrow that prefixes nest.
func genPrefix(t *rapid.T) netip.Prefix {
	addr := genAddr(t)
	if addr.Is4() && rapid.Bool().Draw(t, "mapped") {
		bits := rapid.IntRange(0, 32).Draw(t, "bits")
		return netip.PrefixFrom(netip.AddrFrom16(addr.As16()), 96+bits)
	}
	least := 0
	if addr.IsUnspecified() {
		least = 1
	}
	return netip.PrefixFrom(addr, rapid.IntRange(0, addr.BitLen()-least).Draw(t, "bits"))
}

func genAddr(t *rapid.T) netip.Addr {
	bits := rapid.Uint32Range(0, 255).Draw(t, "addr")
	var v4 [4]byte
	binary.BigEndian.PutUint32(v4[:], bits>>4<<28|bits&15)
	if rapid.Bool().Draw(t, "v4") {
		return netip.AddrFrom4(v4)
	}
	var v6 [16]byte
	v6[0], v6[15] = v4[0], v4[3]
	return netip.AddrFrom16(v6)
}

func TestOverlappingBansEndEachAtItsTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock, twin := newTestClock(), make(naive)
		s := New(clock.options())
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1, 2:
				var entries []Entry
				for range rapid.IntRange(1, 4).Draw(t, "many") {
					e := Entry{Prefix: genPrefix(t), For: time.Duration(rapid.IntRange(0, 5).Draw(t, "for")) * time.Second,
						Source: rapid.SampledFrom([]string{"", "feed"}).Draw(t, "source")}
					if e.Check() != nil {
						continue
					}
					entries = append(entries, e)
					until := int64(0)
					if e.For > 0 {
						until = clock.now + int64(e.For)
					}
					p := Canonical(e.Prefix)
					if old := twin[p]; old != nil && old.source != e.Source && (old.until == 0 && until != 0 || old.until > until && until != 0) {
						if old.until == 0 || old.until > clock.now {
							continue
						}
					}
					twin[p] = &naiveBan{until, e.Source}
				}
				if _, err := s.Put(entries); err != nil {
					t.Fatal(err)
				}
			case 3:
				p := genPrefix(t)
				s.Remove(Filter{Prefixes: []netip.Prefix{p}})
				delete(twin, Canonical(p))
			case 4:
				s.expire()
			case 5:
				clock.pass(time.Duration(rapid.IntRange(0, 3000).Draw(t, "pass")) * time.Millisecond)
			}
			for range 5 {
				addr := genAddr(t)
				if rapid.Bool().Draw(t, "as mapped") && addr.Is4() {
					addr = netip.AddrFrom16(addr.As16())
				}
				if got, want := s.Find(addr, clock.now) != nil, twin.banned(addr, clock.now); got != want {
					t.Fatalf("%s banned: %v, want %v", addr, got, want)
				}
			}
		}
		clock.pass(time.Minute)
		s.expire()
		if want := len(slices.DeleteFunc(s.List(Query{Limit: 1000}).Bans, func(b *Ban) bool { return b.until != never })); s.Len() != want {
			t.Fatalf("%d bans are left, %d of them without an end", s.Len(), want)
		}
	})
}

func TestBanEndsExactlyAtItsTimeWithoutBeingRemoved(t *testing.T) {
	clock := newTestClock()
	s := New(clock.options())
	mustPut(t, s, Entry{Prefix: prefix("192.0.2.0/24"), For: 10 * time.Second}, Entry{Prefix: prefix("192.0.2.1/32"), For: time.Second},
		Entry{Prefix: prefix("2001:db8::/32"), For: time.Second})
	clock.pass(time.Second - 1)
	if !banned(s, "2001:db8::1") {
		t.Error("not banned right before its end")
	}
	clock.pass(1)
	if banned(s, "2001:db8::1") {
		t.Error("banned at its end")
	}
	if b := s.Find(netip.MustParseAddr("::ffff:192.0.2.1"), clock.now); b == nil || b.Prefix() != prefix("192.0.2.0/24") {
		t.Errorf("the shorter ban is still in force, and found was %+v", b)
	}
	if s.Len() != 3 {
		t.Errorf("%d bans in the table, want all 3: nothing has removed them", s.Len())
	}
	if banned(s, "198.51.100.1") || s.Find(netip.Addr{}, clock.now) != nil {
		t.Error("an address without a ban, or a client without an address, is banned")
	}
}

func TestRunRemovesExpiredBans(t *testing.T) {
	ended := make(chan int, 10)
	s := New(Options{Ended: func(n int, _ *Ban) { ended <- n }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	mustPut(t, s, Entry{Prefix: prefix("192.0.2.0/24"), For: 10 * time.Millisecond}, Entry{Prefix: prefix("::1/128")})
	select {
	case n := <-ended:
		if n != 1 || s.Len() != 1 {
			t.Errorf("%d ended, %d are left", n, s.Len())
		}
	case <-time.After(5 * time.Second):
		t.Error("the ban was never removed")
	}
	cancel()
	<-done
}

func TestAnotherSourceNeitherShortensNorRemovesABan(t *testing.T) {
	clock := newTestClock()
	s := New(clock.options())
	feed := "crowdsec"
	p := prefix("203.0.113.0/24")
	mustPut(t, s, Entry{Prefix: p, Reason: "by hand"})
	if out := mustPut(t, s, Entry{Prefix: p, For: time.Hour, Source: feed}); out.Kept != 1 || s.Get(p).Reason() != "by hand" {
		t.Errorf("a feed has replaced a ban without an end: %+v", out)
	}
	if out := s.Remove(Filter{Prefixes: []netip.Prefix{p}, Source: &feed}); out.Removed != 0 {
		t.Error("a feed has removed the ban of an operator")
	}
	if out := mustPut(t, s, Entry{Prefix: p, For: time.Minute}); out.Replaced != 1 || s.Get(p).Left(clock.now) != time.Minute {
		t.Errorf("the same source shortens its ban: %+v", out)
	}
	if out := mustPut(t, s, Entry{Prefix: p, For: time.Hour, Source: feed}); out.Replaced != 1 || s.Get(p).Source() != feed {
		t.Errorf("a longer ban of a feed replaces a shorter one: %+v", out)
	}
	if out := s.Remove(Filter{}); out.Removed != 1 || s.Len() != 0 {
		t.Errorf("an operator removes all: %+v", out)
	}
}

func TestPutTakesAllEntriesOrNone(t *testing.T) {
	s := New(Options{})
	long := make([]byte, MaxReason+1)
	for i := range long {
		long[i] = 'x'
	}
	for _, bad := range []Entry{
		{}, {Prefix: prefix("0.0.0.0/32")}, {Prefix: prefix("::ffff:0:0/90")}, {Prefix: prefix("10.0.0.0/8"), For: -1},
		{Prefix: prefix("10.0.0.0/8"), For: Longest + 1}, {Prefix: prefix("10.0.0.0/8"), Reason: "two\nlines"},
		{Prefix: prefix("10.0.0.0/8"), Reason: "\xff"}, {Prefix: prefix("10.0.0.0/8"), Reason: string(long)},
	} {
		if _, err := s.Put([]Entry{{Prefix: prefix("192.0.2.1/32")}, bad}); err == nil || s.Len() != 0 {
			t.Errorf("%+v: error %v, %d bans", bad, err, s.Len())
		}
	}
	if got := CleanText("a\x1b[31m\xffb\nc  ", 64); got != "a [31m?b c" {
		t.Errorf("cleaned: %q", got)
	}
	if got := CleanText("ääää", 5); got != "ää" {
		t.Errorf("cut: %q", got)
	}
}

func TestDefaultActionAppliesToBansWithoutOne(t *testing.T) {
	s := New(Options{})
	own := acl.Close
	mustPut(t, s, Entry{Prefix: prefix("192.0.2.1/32")}, Entry{Prefix: prefix("192.0.2.2/32"), Action: &own})
	if got := s.ActionOf(s.Get(prefix("192.0.2.1/32"))); got != acl.Reset {
		t.Errorf("default: %s", got)
	}
	s.SetDefault(acl.Message)
	if got := s.ActionOf(s.Get(prefix("192.0.2.1/32"))); got != acl.Message {
		t.Errorf("changed default: %s", got)
	}
	if got := s.ActionOf(s.Get(prefix("192.0.2.2/32"))); got != acl.Close {
		t.Errorf("own: %s", got)
	}
}

func TestListPagesAndFilters(t *testing.T) {
	s := New(Options{})
	var want []netip.Prefix
	for i := range 25 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24)
		if i%5 == 0 {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i)}), 64)
		}
		want = append(want, p)
		mustPut(t, s, Entry{Prefix: p, Reason: fmt.Sprintf("Reason %d", i%2), For: time.Duration(i%3) * time.Hour})
	}
	slices.SortFunc(want, netip.Prefix.Compare)
	var got []netip.Prefix
	q := Query{Limit: 7}
	for {
		page := s.List(q)
		if page.Total != 25 || page.Matched != 25 || page.Permanent != 9 {
			t.Fatalf("counts: %+v", page)
		}
		for _, b := range page.Bans {
			got = append(got, b.Prefix())
			q.After = b.Prefix()
		}
		if !page.More {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages have %v, want %v", got, want)
	}
	if p := s.List(Query{Reason: "reason 1", Limit: 100}); p.Matched != 12 || len(p.Bans) != 12 {
		t.Errorf("by reason: %+v", p)
	}
	if p := s.List(Query{Near: prefix("10.0.7.9/32"), Limit: 100}); len(p.Bans) != 1 || p.Bans[0].Prefix() != prefix("10.0.7.0/24") {
		t.Errorf("by address: %+v", p)
	}
	if p := s.List(Query{Near: prefix("10.0.0.0/21"), Limit: 2}); p.Matched != 6 || !p.More {
		t.Errorf("by prefix: %+v", p)
	}
}

func TestFindTakesNoMemory(t *testing.T) {
	clock := newTestClock()
	s := New(clock.options())
	mustPut(t, s, Entry{Prefix: prefix("10.0.0.0/8"), For: time.Hour}, Entry{Prefix: prefix("10.0.0.0/16"), For: time.Second})
	clock.pass(time.Minute)
	for _, text := range []string{"10.0.0.1", "10.1.0.1", "192.0.2.1", "::ffff:10.0.0.1", "2001:db8::1"} {
		addr := netip.MustParseAddr(text)
		if n := testing.AllocsPerRun(100, func() { s.Find(addr, clock.now) }); n > 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

// million makes entries for n different addresses, half of them IPv6 networks.
func million(n int) []Entry {
	r := rand.New(rand.NewPCG(1, 2))
	entries := make([]Entry, n)
	for i := range entries {
		var p netip.Prefix
		if i%2 == 0 {
			p = netip.PrefixFrom(netip.AddrFrom4([4]byte{1 + byte(r.Uint32N(220)), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}), 32)
		} else {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, byte(r.Uint32N(64)), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}), 64)
		}
		entries[i] = Entry{Prefix: p, For: time.Hour + time.Duration(i)*time.Microsecond, Reason: "crowdsecurity/ssh-bf", Source: "crowdsec"}
	}
	return entries
}
