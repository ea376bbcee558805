package acl

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// found is the index of the rule that decides about addr.
func found(l *List, addr netip.Addr) int {
	rule, _ := l.find(addr)
	return int(rule)
}

// TestExplainNamesWhatDecides: whatever searches the list, Explain decides as Decide does, and the
// prefix that it names is one of the rule or set that it names, and holds the address.
func TestExplainNamesWhatDecides(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := inSets(t, genRules(t))
		built := Build(rules, false)
		flat := flatten(rules)
		lists := map[string]*List{
			"scan":  {matcher: scan(flat), sets: built.sets, decisions: built.decisions},
			"table": {matcher: newTable(slices.Clone(flat)), sets: built.sets, decisions: built.decisions},
			"built": built,
		}
		for range 20 {
			addr := genAddr(t)
			for name, l := range lists {
				e := l.Explain(addr)
				if e.Decision != l.Decide(addr) || e.Rule != found(l, addr)+1 {
					t.Fatalf("%s: %s: %+v, but Decide says %+v by rule %d", name, addr, e, l.Decide(addr), found(l, addr)+1)
				}
				if e.Rule == 0 {
					if e.Prefix.IsValid() || e.Set != nil {
						t.Fatalf("%s: %s: no rule matches, and %+v", name, addr, e)
					}
					continue
				}
				rule := rules[e.Rule-1]
				if !e.Prefix.Contains(plain(addr)) {
					t.Fatalf("%s: %s is not in %s", name, addr, e.Prefix)
				}
				if e.Set != nil {
					if !slices.Contains(rule.Sets, e.Set) {
						t.Fatalf("%s: %s: a set that rule %d does not name", name, addr, e.Rule)
					}
				} else if !slices.ContainsFunc(rule.Prefixes, func(p netip.Prefix) bool { return canonical(p) == e.Prefix }) {
					t.Fatalf("%s: %s: %s is not a prefix of rule %d", name, addr, e.Prefix, e.Rule)
				}
			}
		}
	})
}

func TestExplain(t *testing.T) {
	trusted := NewSet([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	trusted.Name = "trusted.txt"
	l := Build([]Rule{
		{Name: "one", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.13/32")}, Action: Reset},
		{Name: "two", Allow: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Sets: []*Set{trusted}},
	}, false)
	for _, test := range []struct {
		addr string
		want Explanation
	}{
		{"::ffff:10.0.0.13", Explanation{Decision{false, Reset, "one", 1, false}, 1, netip.MustParsePrefix("10.0.0.13/32"), nil, nil}},
		{"10.0.0.14", Explanation{Decision{true, Message, "two", 2, false}, 2, netip.MustParsePrefix("10.0.0.0/8"), trusted, nil}},
		{"192.0.2.1", Explanation{Decision{true, Message, "two", 2, false}, 2, netip.MustParsePrefix("192.0.2.0/24"), nil, nil}},
		{"2001:db8::1", Explanation{Decision: Decision{false, Message, DefaultName, 0, false}}},
	} {
		if got := l.Explain(netip.MustParseAddr(test.addr)); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.addr, got, test.want)
		}
	}
	if got := l.Explain(netip.Addr{}); got.Rule != 0 || got.Allow {
		t.Errorf("a client without an address: %+v", got)
	}
	if got := (*List)(nil).Explain(netip.MustParseAddr("10.0.0.1")); !got.Allow || got.Rule != 0 {
		t.Errorf("no list: %+v", got)
	}
}
