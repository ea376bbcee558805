package acl

import "net/netip"

// Set is a set of prefixes that several rules share, of one list or of many: a
// file of a million addresses is in memory once, however often it is named. It
// is immutable and safe for concurrent use.
type Set struct {
	matcher matcher
}

// NewSet makes a set. What is said of [Rule].Prefixes holds for its prefixes,
// which are not kept.
func NewSet(prefixes []netip.Prefix) *Set {
	return &Set{newMatcher(flatten([]Rule{{Prefixes: prefixes}}))}
}

func (s *Set) contains(addr netip.Addr) bool { return s.matcher.match(addr) != DefaultRule }

// ruledSet is a set and its rule.
type ruledSet struct {
	set  *Set
	rule int32
}

// ruledSets returns the rules' sets in the order of the rules, each with the
// first rule that has it: the others never decide by it.
func ruledSets(rules []Rule) (sets []ruledSet) {
	seen := make(map[*Set]bool)
	for i, r := range rules {
		for _, s := range r.Sets {
			if !seen[s] {
				seen[s] = true
				sets = append(sets, ruledSet{s, int32(i)})
			}
		}
	}
	return sets
}
