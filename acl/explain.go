package acl

import "net/netip"

// Explanation is a Decision with what has led to it.
type Explanation struct {
	Decision
	// Rule is the position of the rule that decided, counted from 1; 0 if none matched.
	Rule int
	// Prefix is what the address matched, of the rule itself or of a set; invalid if no rule
	// matched.
	Prefix netip.Prefix
	// Set is the set that the prefix is from; nil if it is the rule's own, or if no rule matched.
	Set *Set
	// By is what matched instead of a prefix; nil if a prefix did.
	By Matcher
}

// Explain decides as Decide does, by the same search, and says why.
func (l *List) Explain(addr netip.Addr) Explanation {
	if l == nil {
		return Explanation{Decision: l.Decide(addr)}
	}
	rule, set := l.findPrefix(plain(addr))
	if m := l.findOther(plain(addr), rule); m != nil {
		return Explanation{Decision: l.decisions[m.rule+1], Rule: int(m.rule) + 1, By: m.Matcher}
	}
	e := Explanation{Decision: l.decisions[rule+1], Rule: int(rule) + 1, Set: set}
	if rule == noRule {
		return e
	}
	m := l.matcher
	if set != nil {
		m = set.matcher
	}
	e.Prefix = m.prefix(plain(addr))
	return e
}

// prefix implements matcher.
func (s scan) prefix(addr netip.Addr) netip.Prefix {
	for i := range s {
		if s[i].prefix.Contains(addr) {
			return s[i].prefix
		}
	}
	return netip.Prefix{}
}

// prefix implements matcher. The longest prefix is one of the rule that match returns.
func (t *table) prefix(addr netip.Addr) netip.Prefix {
	if !addr.IsValid() {
		return netip.Prefix{}
	}
	p, _, _ := t.prefixes.LookupPrefixLPM(netip.PrefixFrom(addr, addr.BitLen()))
	return p
}
