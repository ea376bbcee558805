package config

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// reached refuses rules that can never match because each of their prefixes lies within one of the
// rules before them. The content of a list file may change: a rule with a file may match any
// client, and its file is never taken to match any. Prefixes that only together cover another, such
// as 0.0.0.0/1 and 128.0.0.0/1, are not found.
func (c *checker) reached(a *ACL, at *path) {
	var before bart.Table[int] // the first rule that has a prefix
	for i := range a.Rules {
		r := &a.Rules[i]
		if by := covers(&before, r); len(by) > 0 {
			f := faultf("remove it, or move it up", "%s can never match: %s", r.Name, r.because(a, by))
			for _, b := range by {
				f.See = append(f.See, at.item(b).String())
			}
			c.add(at.item(i), f)
			continue
		}
		if r.Shadow { // it lets all clients pass
			continue
		}
		for _, p := range r.Prefixes {
			if _, ok := before.Get(p); !ok {
				before.Insert(p, i)
			}
		}
	}
}

var all4, all6 = netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)

// deniesAll reports whether the deny rules match all clients that have an address.
func (a *ACL) deniesAll() bool {
	has := func(p netip.Prefix) bool {
		return slices.ContainsFunc(a.Rules, func(r Rule) bool { return !r.Allow && !r.Shadow && slices.Contains(r.Prefixes, p) })
	}
	return has(all4) && has(all6)
}

// covers returns the rules whose prefixes cover those of r, each once and in their order; none if r
// may match a client that they do not.
func covers(before *bart.Table[int], r *Rule) (by []int) {
	prefixes := r.Prefixes
	if len(r.Lists) > 0 || len(r.Geo) > 0 {
		prefixes = []netip.Prefix{all4, all6}
	}
	for _, p := range prefixes {
		// The rule that matches a whole family explains more than one with a longer prefix.
		rule, ok := before.Get(netip.PrefixFrom(p.Addr(), 0).Masked())
		if !ok {
			rule, ok = before.LookupPrefix(p)
		}
		if !ok {
			return nil
		}
		by = append(by, rule)
	}
	slices.Sort(by)
	return slices.Compact(by)
}

// because says why r can never match after the rules by of a.
func (r *Rule) because(a *ACL, by []int) string {
	matches := func(all netip.Prefix) bool {
		return slices.ContainsFunc(by, func(i int) bool { return slices.Contains(a.Rules[i].Prefixes, all) })
	}
	any := len(r.Lists) > 0 || len(r.Geo) > 0
	is4, is6 := any, any
	for _, p := range r.Prefixes {
		is4, is6 = is4 || p.Addr().Is4(), is6 || p.Addr().Is6()
	}
	clients := "all of its clients"
	switch every4, every6 := matches(all4), matches(all6); {
	case every4 && !is6:
		clients = "all IPv4 clients"
	case every6 && !is4:
		clients = "all IPv6 clients"
	case every4 && every6:
		clients = "all clients"
	}
	switch len(by) {
	case 1:
		return a.Rules[by[0]].Name + " matches " + clients
	case 2:
		return a.Rules[by[0]].Name + " and " + a.Rules[by[1]].Name + " match " + clients
	}
	return fmt.Sprintf("%s and %d other rules match %s", a.Rules[by[0]].Name, len(by)-1, clients)
}
