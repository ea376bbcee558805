package acl

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// inPrefix is a Matcher for tests: it matches as a prefix does.
type inPrefix netip.Prefix

func (m inPrefix) Match(addr netip.Addr) bool      { return netip.Prefix(m).Contains(addr) }
func (m inPrefix) Describe(addr netip.Addr) string { return "test" }

// TestMatchersCountInTheOrderOfTheRules: rules decide the same, whether their clients are given as
// prefixes, as sets or as Matchers.
func TestMatchersCountInTheOrderOfTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := genRules(t)
		mixed := inSets(t, rules)
		for i := range mixed {
			kept := mixed[i].Prefixes[:0:0]
			for _, p := range mixed[i].Prefixes {
				if rapid.Bool().Draw(t, "as matcher") {
					mixed[i].Matchers = append(mixed[i].Matchers, inPrefix(canonical(p)))
				} else {
					kept = append(kept, p)
				}
			}
			mixed[i].Prefixes = kept
		}
		l := Build(mixed, false)
		for range 20 {
			addr := genAddr(t)
			want := slowDecide(rules, addr)
			if got := found(l, addr); got != want {
				t.Fatalf("%s by rule %d, want %d", addr, got, want)
			}
			e := l.Explain(addr)
			if e.Decision != l.Decide(addr) || e.Rule != want+1 || want >= 0 && (e.By != nil) == e.Prefix.IsValid() {
				t.Fatalf("%s: explained as %+v, rule %d", addr, e, want)
			}
		}
	})
}
