package acl

import "net/netip"

// A shadowRule is searched on its own: each shadow rule that an address meets counts, and none of
// them decides.
type shadowRule struct {
	rule    int32 // its index
	matcher matcher
	sets    []ruledSet
	others  []Matcher
}

func shadowRules(rules []Rule) (shadows []shadowRule) {
	for i := range rules {
		if rules[i].Shadow {
			this := only(rules, func(r *Rule) bool { return r == &rules[i] })
			shadows = append(shadows, shadowRule{int32(i), newMatcher(flatten(this)), ruledSets(this), rules[i].Matchers})
		}
	}
	return shadows
}

// only returns the rules with only those that matter; the others match nothing.
func only(rules []Rule, matter func(*Rule) bool) []Rule {
	some := make([]Rule, len(rules))
	for i := range rules {
		if matter(&rules[i]) {
			some[i] = rules[i]
		}
	}
	return some
}

// Shadows reports whether the list has shadow rules.
func (l *List) Shadows() bool { return l != nil && len(l.shadows) > 0 }

// NextShadow returns the next shadow rule that an address meets on its way to the rule that
// decides: one that matches, and stands between two indices of Decisions. after is 0 for the first
// one, and before is Decision.Rule of what decides, 0 for the default.
func (l *List) NextShadow(addr netip.Addr, after, before int32) (d Decision, ok bool) {
	addr = plain(addr)
	for i := range l.shadows {
		s := &l.shadows[i]
		if at := s.rule + 1; at <= after || before != 0 && at >= before {
			continue
		}
		if s.matches(addr) {
			return l.decisions[s.rule+1], true
		}
	}
	return Decision{}, false
}

func (s *shadowRule) matches(addr netip.Addr) bool {
	if s.matcher.match(addr) != noRule {
		return true
	}
	for i := range s.sets {
		if s.sets[i].set.contains(addr) {
			return true
		}
	}
	for _, m := range s.others {
		if m.Match(addr) {
			return true
		}
	}
	return false
}
