package acl

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// slowDecide is the obvious way: the rules in order, each prefix in each of the forms that a
// client's address may have.
func slowDecide(rules []Rule, addr netip.Addr) int {
	addr = addr.WithZone("")
	forms := []netip.Addr{addr}
	if addr.Is4In6() {
		forms = []netip.Addr{addr.Unmap()}
	}
	for i, r := range rules {
		for _, p := range r.Prefixes {
			for _, a := range forms {
				mapped := p.Addr().Is4In6() && p.Bits() >= 96
				if p.Contains(a) || mapped && a.Is4() && p.Contains(netip.AddrFrom16(a.As16())) {
					return i
				}
			}
		}
	}
	return noRule
}

// genAddr draws addresses from a space so narrow that prefixes nest and match.
func genAddr(t *rapid.T) netip.Addr {
	bits := rapid.Uint32Range(0, 1<<12-1).Draw(t, "bits")
	var v4 [4]byte
	// A few bits at each end, so that short and long prefixes tell them apart.
	binary.BigEndian.PutUint32(v4[:], bits>>6<<26|bits&0x3f)
	switch rapid.SampledFrom([]string{"v4", "mapped", "v6", "zoned"}).Draw(t, "form") {
	case "v4":
		return netip.AddrFrom4(v4)
	case "mapped":
		return netip.AddrFrom16(netip.AddrFrom4(v4).As16())
	case "zoned":
		return v6(v4).WithZone("eth0")
	}
	return v6(v4)
}

// v6 puts two bytes at each end of an IPv6 address.
func v6(v4 [4]byte) netip.Addr {
	var a [16]byte
	copy(a[:], v4[:2])
	copy(a[14:], v4[2:])
	return netip.AddrFrom16(a)
}

func genRules(t *rapid.T) []Rule {
	rules := make([]Rule, rapid.IntRange(0, 6).Draw(t, "rules"))
	for i := range rules {
		for range rapid.IntRange(0, 6).Draw(t, "prefixes") {
			a := genAddr(t)
			// PrefixFrom keeps the host bits, as a user may have written them.
			p := netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "length"))
			rules[i].Prefixes = append(rules[i].Prefixes, p)
		}
	}
	return rules
}

// inSets moves the prefixes of some rules into sets. Later rules name the same sets too, which must
// change nothing.
func inSets(t *rapid.T, rules []Rule) []Rule {
	var sets []*Set
	moved := make([]Rule, len(rules))
	for i, r := range rules {
		moved[i] = r
		if rapid.Bool().Draw(t, "moved") {
			half := len(r.Prefixes) / 2
			moved[i].Prefixes = r.Prefixes[:half]
			sets = append(sets, NewSet(r.Prefixes[half:]))
			moved[i].Sets = sets // those of earlier rules, too
		}
	}
	return moved
}

func TestEveryMatcherAgreesWithTheSlowTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := genRules(t)
		built := Build(rules, false)
		lists := map[string]*List{
			"scan":  {matcher: scan(flatten(rules)), decisions: built.decisions},
			"table": {matcher: newTable(flatten(rules)), decisions: built.decisions},
			"built": built,
			"sets":  Build(inSets(t, rules), false),
		}
		for range 20 {
			addr := genAddr(t)
			want := slowDecide(rules, addr)
			for name, l := range lists {
				if got := found(l, addr); got != want {
					t.Fatalf("%s: %s by rule %d, want %d", name, addr, got, want)
				}
			}
		}
	})
}
