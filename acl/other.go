package acl

import "net/netip"

// Matcher matches addresses by something else than prefixes, such as their country. Match must not
// block, and takes no memory. It gets addresses that are not IPv4-mapped and have no zone; that of
// a client without an address is the zero Addr.
type Matcher interface {
	Match(addr netip.Addr) bool
	// Describe says in words why an address matches or does not.
	Describe(addr netip.Addr) string
}

// ruledMatcher is a Matcher and its rule.
type ruledMatcher struct {
	Matcher
	rule int32
}

// ruledMatchers returns the rules' Matchers in the order of the rules.
func ruledMatchers(rules []Rule) (all []ruledMatcher) {
	for i, r := range rules {
		for _, m := range r.Matchers {
			all = append(all, ruledMatcher{m, int32(i)})
		}
	}
	return all
}

// findOther returns the first Matcher of a rule before limit that matches; nil if none does. A
// limit of noRule means all rules.
func (l *List) findOther(addr netip.Addr, limit int32) *ruledMatcher {
	for i := range l.others {
		m := &l.others[i]
		if limit != noRule && m.rule >= limit {
			break
		}
		if m.Match(addr) {
			return m
		}
	}
	return nil
}
