package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// checkReached refuses rules that can never match because each of their
// prefixes lies within one of the rules before them. n is the list of the rules
// of a. The content of a list file may change: a rule with a file may match any
// client, and its file is never taken to match any. Prefixes that only together
// cover another, such as 0.0.0.0/1 and 128.0.0.0/1, are not found.
func (d *decoder) checkReached(a *ACL, n *node) {
	var before bart.Table[*Rule] // the first rule that has a prefix
	for i := range a.Rules {
		r := &a.Rules[i]
		if by := covers(&before, r); len(by) > 0 {
			d.faultf(n.items[i], "remove it, or move it up", "%s can never match: %s", r.Name, r.because(by))
			continue
		}
		for _, p := range r.Prefixes {
			if _, ok := before.Get(p); !ok {
				before.Insert(p, r)
			}
		}
	}
}

var all4, all6 = netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)

// covers returns the rules whose prefixes cover those of r, each once and in
// their order; none if r may match a client that they do not.
func covers(before *bart.Table[*Rule], r *Rule) (by []*Rule) {
	prefixes := r.Prefixes
	if len(r.Lists) > 0 {
		prefixes = []netip.Prefix{all4, all6}
	}
	seen := make(map[*Rule]bool)
	for _, p := range prefixes {
		// The rule that matches a whole family explains more than one with a
		// longer prefix.
		rule, ok := before.Get(netip.PrefixFrom(p.Addr(), 0).Masked())
		if !ok {
			rule, ok = before.LookupPrefix(p)
		}
		if !ok {
			return nil
		}
		if !seen[rule] {
			seen[rule] = true
			by = append(by, rule)
		}
	}
	slices.SortFunc(by, func(a, b *Rule) int { return cmp.Or(a.Pos.Line-b.Pos.Line, a.Pos.Col-b.Pos.Col) })
	return by
}

// because says why r can never match after the rules by.
func (r *Rule) because(by []*Rule) string {
	clients := "all of its clients"
	is4, is6 := len(r.Lists) > 0, len(r.Lists) > 0
	for _, p := range r.Prefixes {
		is4, is6 = is4 || p.Addr().Is4(), is6 || p.Addr().Is6()
	}
	every4 := slices.ContainsFunc(by, func(b *Rule) bool { return slices.Contains(b.Prefixes, all4) })
	every6 := slices.ContainsFunc(by, func(b *Rule) bool { return slices.Contains(b.Prefixes, all6) })
	switch {
	case every4 && !is6:
		clients = "all IPv4 clients"
	case every6 && !is4:
		clients = "all IPv6 clients"
	case every4 && every6:
		clients = "all clients"
	}
	switch len(by) {
	case 1:
		return by[0].where() + " matches " + clients
	case 2:
		return by[0].where() + " and " + by[1].where() + " match " + clients
	}
	return fmt.Sprintf("%s and %d other rules match %s", by[0].where(), len(by)-1, clients)
}

// where names the rule and its line.
func (r *Rule) where() string { return fmt.Sprintf("%s (line %d)", r.Name, r.Pos.Line) }
