package acl

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rule returns a rule named after its prefixes.
func rule(allow bool, prefixes ...string) Rule {
	r := Rule{Name: fmt.Sprint(prefixes), Allow: allow}
	for _, p := range prefixes {
		r.Prefixes = append(r.Prefixes, netip.MustParsePrefix(p))
	}
	return r
}

// filler is a rule of n prefixes that match no address of the tests; it pushes a list over
// scanLimit.
func filler(n int) Rule {
	r := Rule{Name: "filler", Allow: true}
	for i := range n {
		r.Prefixes = append(r.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{240, 0, byte(i), 0}), 24))
	}
	return r
}

// eachSize runs f with a list that is scanned and with one that is a table.
func eachSize(t *testing.T, rules []Rule, defaultAllow bool, f func(t *testing.T, l *List)) {
	t.Run("scan", func(t *testing.T) {
		l := Build(rules, defaultAllow)
		if _, ok := l.matcher.(scan); !ok {
			t.Fatalf("built a %T, want a scan", l.matcher)
		}
		f(t, l)
	})
	t.Run("table", func(t *testing.T) {
		l := Build(append(rules[:len(rules):len(rules)], filler(scanLimit+1)), defaultAllow)
		if _, ok := l.matcher.(*table); !ok {
			t.Fatalf("built a %T, want a table", l.matcher)
		}
		f(t, l)
	})
}

func TestChoiceBySize(t *testing.T) {
	for n, want := range map[int]string{
		0: "acl.scan", 1: "acl.scan", scanLimit: "acl.scan",
		scanLimit + 1: "*acl.table", 200: "*acl.table",
	} {
		if got := fmt.Sprintf("%T", Build([]Rule{filler(n)}, false).matcher); got != want {
			t.Errorf("%d prefixes built %s, want %s", n, got, want)
		}
	}
}

func TestFirstMatchWins(t *testing.T) {
	rules := []Rule{
		rule(false, "10.0.0.13/32"),
		rule(true, "10.0.0.0/8", "fe80::/10"),
		rule(false, "10.1.0.0/16"), // never decides: rule 1 comes first
		rule(false, "0.0.0.0/0"),
	}
	eachSize(t, rules, true, func(t *testing.T, l *List) {
		for addr, want := range map[string]int{
			"10.0.0.13":           0,
			"10.0.0.14":           1,
			"10.1.2.3":            1,
			"11.0.0.1":            3,
			"::ffff:10.0.0.13":    0,
			"::ffff:10.0.0.14":    1,
			"fe80::1":             1,
			"fe80::1%eth0":        1,
			"2001:db8::1":         noRule,
			"::ffff:10.0.0.13%e0": 0,
		} {
			if got := found(l, netip.MustParseAddr(addr)); got != want {
				t.Errorf("%s by rule %d, want %d", addr, got, want)
			}
		}
	})
}

func TestDecisionNamesTheRule(t *testing.T) {
	reset := rule(false, "192.0.2.0/24")
	reset.Action = Reset
	eachSize(t, []Rule{reset}, true, func(t *testing.T, l *List) {
		want := Decision{Allow: false, Action: Reset, Name: "[192.0.2.0/24]", Rule: 1}
		if diff := cmp.Diff(want, l.Decide(netip.MustParseAddr("192.0.2.1"))); diff != "" {
			t.Error(diff)
		}
		want = Decision{Allow: true, Name: "default"}
		if diff := cmp.Diff(want, l.Decide(netip.MustParseAddr("192.0.3.1"))); diff != "" {
			t.Error(diff)
		}
	})
}

// TestDecisionsAreIndexed: a Decision is the element of Decisions that its index says.
func TestDecisionsAreIndexed(t *testing.T) {
	eachSize(t, []Rule{rule(false, "192.0.2.0/25"), rule(true, "192.0.2.0/24")}, false, func(t *testing.T, l *List) {
		all := l.Decisions()
		for _, addr := range []string{"192.0.2.1", "192.0.2.200", "192.0.3.1"} {
			d := l.Decide(netip.MustParseAddr(addr))
			if diff := cmp.Diff(all[d.Rule], d); diff != "" {
				t.Errorf("%s: %s", addr, diff)
			}
		}
	})
	var none *List
	if diff := cmp.Diff(none.Decisions(), []Decision{none.Decide(netip.Addr{})}); diff != "" {
		t.Error(diff)
	}
}

func TestMappedPrefixes(t *testing.T) {
	rules := []Rule{rule(true, "::ffff:192.0.2.77/120"), rule(true, "::ffff:198.51.100.1/128"), rule(true, "::/0")}
	eachSize(t, rules, false, func(t *testing.T, l *List) {
		for addr, want := range map[string]int{
			"192.0.2.1":           0,
			"::ffff:192.0.2.1":    0,
			"198.51.100.1":        1,
			"198.51.100.2":        noRule, // ::/0 is no IPv4 prefix
			"::ffff:198.51.100.2": noRule,
			"2001:db8::1":         2,
		} {
			if got := found(l, netip.MustParseAddr(addr)); got != want {
				t.Errorf("%s by rule %d, want %d", addr, got, want)
			}
		}
	})
	eachSize(t, []Rule{rule(true, "::ffff:0:0/96")}, false, func(t *testing.T, l *List) {
		if !l.Decide(netip.MustParseAddr("203.0.113.9")).Allow {
			t.Error("::ffff:0:0/96 does not match an IPv4 address")
		}
	})
}

func TestClientWithoutAddressGetsTheDefault(t *testing.T) {
	for _, allow := range []bool{true, false} {
		eachSize(t, []Rule{rule(!allow, "0.0.0.0/0", "::/0")}, allow, func(t *testing.T, l *List) {
			want := Decision{Allow: allow, Name: DefaultName}
			if diff := cmp.Diff(want, l.Decide(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNilListAllows(t *testing.T) {
	var l *List
	want := Decision{Allow: true, Name: DefaultName}
	for _, addr := range []netip.Addr{netip.MustParseAddr("192.0.2.1"), {}} {
		if diff := cmp.Diff(want, l.Decide(addr)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestEmptyListIsItsDefault(t *testing.T) {
	for _, allow := range []bool{true, false} {
		if got := Build(nil, allow).Decide(netip.MustParseAddr("192.0.2.1")).Allow; got != allow {
			t.Errorf("an empty list with default %t said %t", allow, got)
		}
	}
}

func TestInvalidPrefixMatchesNothing(t *testing.T) {
	l := Build([]Rule{{Allow: true, Prefixes: []netip.Prefix{{}}}}, false)
	for _, addr := range []netip.Addr{netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("::"), {}} {
		if l.Decide(addr).Allow {
			t.Errorf("an invalid prefix matched %v", addr)
		}
	}
}

func TestActionWords(t *testing.T) {
	for a, want := range map[Action]string{Message: "message", Close: "close", Reset: "reset", Drop: "drop", Tarpit: "tarpit", 99: "unknown"} {
		if got := a.String(); got != want {
			t.Errorf("Action(%d) = %q, want %q", a, got, want)
		}
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	addr := netip.MustParseAddr("::ffff:10.1.2.3")
	zoned := netip.MustParseAddr("fe80::1%eth0")
	eachSize(t, []Rule{rule(true, "10.0.0.0/8")}, false, func(t *testing.T, l *List) {
		if n := testing.AllocsPerRun(100, func() { l.Decide(addr); l.Decide(zoned) }); n != 0 {
			t.Errorf("Decide allocates %v times", n)
		}
	})
}

// randomRules returns n distinct prefixes of /8 to /32 in ten rules, and the addresses of some of
// them.
func randomRules(n int) ([]Rule, []netip.Addr) {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	rules := make([]Rule, 10)
	addrs := make([]netip.Addr, 0, 4096)
	for i := range n {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], r.Uint32())
		p := netip.PrefixFrom(netip.AddrFrom4(a), 32-r.IntN(9))
		to := &rules[i%len(rules)]
		to.Allow = i%2 == 0
		to.Prefixes = append(to.Prefixes, p)
		if len(addrs) < cap(addrs) && r.IntN(n) < 2*cap(addrs) {
			addrs = append(addrs, p.Addr())
		}
	}
	for len(addrs) < cap(addrs) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], r.Uint32())
		addrs = append(addrs, netip.AddrFrom4(a))
	}
	return rules, addrs
}

func TestLargeList(t *testing.T) {
	rules, addrs := randomRules(200_000)
	l := Build(rules, false)
	for _, addr := range addrs[:40] {
		if got, want := found(l, addr), slowDecide(rules, addr); got != want {
			t.Errorf("%s by rule %d, want %d", addr, got, want)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{0, 1, scanLimit, scanLimit + 1, 100, 10_000, 1_000_000} {
		rules, addrs := randomRules(n)
		l := Build(rules, false)
		b.Run(fmt.Sprintf("prefixes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				l.Decide(addrs[i%len(addrs)])
				i++
			}
		})
	}
}

// BenchmarkMatchers is what scanLimit was chosen by: each prefix in turn is the one that matches.
func BenchmarkMatchers(b *testing.B) {
	for name, family := range map[string]string{
		"v4-24": "10.0.%d.0/24", "v6-48": "2001:db8:%d::/48", "v6-128": "2001:db8::%d/128",
	} {
		for _, n := range []int{1, 2, 4, 8} {
			var rules []Rule
			var addrs []netip.Addr
			for i := range n {
				r := rule(true, fmt.Sprintf(family, i))
				rules = append(rules, r)
				addrs = append(addrs, r.Prefixes[0].Addr())
			}
			for _, m := range []matcher{scan(flatten(rules)), newTable(flatten(rules))} {
				b.Run(fmt.Sprintf("%T/%s/prefixes=%d", m, name, n), func(b *testing.B) {
					i := 0
					for b.Loop() {
						m.match(addrs[i])
						if i++; i == n {
							i = 0
						}
					}
				})
			}
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	rules, _ := randomRules(1_000_000)
	for b.Loop() {
		Build(rules, false)
	}
}
