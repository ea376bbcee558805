package acl

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// shadowsOf are the indices of the shadow rules that an address meets, by the API.
func shadowsOf(l *List, addr netip.Addr) (met []int) {
	before := l.Decide(addr).Rule
	for at := int32(0); l.Shadows(); {
		d, more := l.NextShadow(addr, at, before)
		if !more {
			return met
		}
		at = d.Rule
		met = append(met, int(d.Rule)-1)
	}
	return nil
}

// TestShadowRules: the list decides as if it had no shadow rules, and an address meets those that
// match it and stand before the rule that decides.
func TestShadowRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := genRules(t)
		without := slices.Clone(rules)
		for i := range rules {
			if rules[i].Shadow = rapid.Bool().Draw(t, "shadow"); rules[i].Shadow {
				without[i] = Rule{}
			}
		}
		inSets := slices.Clone(rules)
		for i, r := range rules {
			inSets[i].Prefixes, inSets[i].Sets = r.Prefixes[len(r.Prefixes)/2:], []*Set{NewSet(r.Prefixes[:len(r.Prefixes)/2])}
		}
		lists := []*List{Build(rules, false), Build(inSets, false)}
		for range 20 {
			addr := genAddr(t)
			decides := slowDecide(without, addr)
			var want []int
			for i := range rules {
				if rules[i].Shadow && (decides == noRule || i < decides) && slowDecide(rules[i:i+1], addr) == 0 {
					want = append(want, i)
				}
			}
			for _, l := range lists {
				if got := found(l, addr); got != decides {
					t.Fatalf("%s by rule %d, want %d", addr, got, decides)
				}
				if got := shadowsOf(l, addr); !slices.Equal(got, want) {
					t.Fatalf("%s meets the shadow rules %v, want %v", addr, got, want)
				}
			}
		}
	})
}

// TestShadowDecision: what a shadow rule would do is said, and it costs no allocation.
func TestShadowDecision(t *testing.T) {
	r := rule(false, "192.0.2.0/24")
	r.Shadow, r.Action = true, Tarpit
	l := Build([]Rule{r}, true)
	addr := netip.MustParseAddr("::ffff:192.0.2.1")
	d, ok := l.NextShadow(addr, 0, l.Decide(addr).Rule)
	if want := (Decision{Action: Tarpit, Name: r.Name, Rule: 1, Shadow: true}); !ok || d != want {
		t.Errorf("%+v, %t; want %+v", d, ok, want)
	}
	if n := testing.AllocsPerRun(100, func() { l.NextShadow(addr, 0, 0) }); n != 0 {
		t.Errorf("NextShadow allocates %v times", n)
	}
	var none *List
	if none.Shadows() || Build(nil, true).Shadows() {
		t.Error("lists without shadow rules have some")
	}
}
