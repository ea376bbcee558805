package acl

import "net/netip"

// Set is a set of prefixes that rules of one or several lists share: a file of a million addresses
// is in memory once, however many rules name it. A Set is immutable and safe for concurrent use.
type Set struct {
	// Name is where the prefixes come from, for explanations. It is set before the Set is used.
	Name    string
	matcher matcher
}

// NewSet makes a set. The prefixes follow the same rules as [Rule].Prefixes. The set does not keep
// the slice.
func NewSet(prefixes []netip.Prefix) *Set {
	return &Set{matcher: newMatcher(flatten([]Rule{{Prefixes: prefixes}}))}
}

func (s *Set) contains(addr netip.Addr) bool { return s.matcher.match(addr) != noRule }

// ruledSet is a set and its rule.
type ruledSet struct {
	set  *Set
	rule int32
}

// ruledSets returns the rules' sets in the order of the rules, each with the first rule that names
// it: later rules never decide by the same set.
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
