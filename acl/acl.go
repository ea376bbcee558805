// Package acl decides by a client's address whether it may connect.
//
// A list is an ordered sequence of allow and deny rules; the first rule that holds a matching
// prefix wins, however long the prefix. How the list is searched is chosen once, when it is built,
// by its size.
package acl

import (
	"net/netip"
	"slices"
)

// Action is what happens to a client that is denied.
type Action uint8

// The actions, by their words in the configuration.
const (
	Message Action = iota // send the deny message, then FIN
	Close                 // FIN
	Reset                 // RST
	Drop                  // nothing: the connection is forgotten, without FIN or RST
	Tarpit                // nothing: the connection is held open for a time, then RST
)

// String returns the word of the configuration for a.
func (a Action) String() string {
	switch a {
	case Message:
		return "message"
	case Close:
		return "close"
	case Reset:
		return "reset"
	case Drop:
		return "drop"
	case Tarpit:
		return "tarpit"
	}
	return "unknown"
}

// Rule allows or denies the clients of some prefixes.
type Rule struct {
	// Name stands for the rule in logs and metrics.
	Name string
	// Allow says whether matching clients are allowed or denied.
	Allow bool
	// Prefixes are what the rule matches. An IPv4-mapped prefix (::ffff:0:0/96 and longer) stands
	// for the IPv4 prefix. An invalid prefix matches nothing. ::/0 does not match IPv4 clients.
	Prefixes []netip.Prefix
	// Sets hold more prefixes, shared with other rules.
	Sets []*Set
	// Matchers match by something else than prefixes.
	Matchers []Matcher
	// Action is what happens to matching clients of a denying rule.
	Action Action
	// Shadow rules never decide: matching clients are counted, and the next rules decide.
	Shadow bool
}

// DefaultName is Decision.Name if no rule matches.
const DefaultName = "default"

// Decision is the result of a list for one client.
type Decision struct {
	// Allow says whether the client may connect.
	Allow bool
	// Action is what happens to it otherwise.
	Action Action
	// Name is that of the rule that decided, or DefaultName.
	Name string
	// Rule is the index of the decision in List.Decisions: 0 is the default.
	Rule int32
	// Shadow says that this is what the rule would decide if it was no shadow rule; see
	// List.NextShadow.
	Shadow bool
}

// List is an access control list. It is immutable and safe for concurrent use. A nil *List allows
// all clients.
type List struct {
	matcher   matcher        // of the rules' Prefixes
	sets      []ruledSet     // by rule
	others    []ruledMatcher // by rule
	decisions []Decision     // [0] is the default, [i+1] that of rule i
	shadows   []shadowRule   // by rule; none of the above has their prefixes
}

// noRule stands for the index of a rule if no rule matches.
const noRule = -1

// matcher finds the first rule that matches an address (without a zone, not IPv4-mapped), or
// noRule.
type matcher interface {
	match(addr netip.Addr) int32
	// prefix returns the prefix of that rule by which it matches; the zero value without a match.
	prefix(addr netip.Addr) netip.Prefix
}

// Build makes a list of rules. The first rule that matches wins. Without a match, a client is
// allowed if defaultAllow is set, and denied with Message otherwise. The rules are not kept.
func Build(rules []Rule, defaultAllow bool) *List {
	decisions := make([]Decision, 0, len(rules)+1)
	decisions = append(decisions, Decision{Allow: defaultAllow, Name: DefaultName})
	for i, r := range rules {
		decisions = append(decisions, Decision{Allow: r.Allow, Action: r.Action, Name: r.Name, Rule: int32(i + 1), Shadow: r.Shadow})
	}
	shadows := shadowRules(rules)
	if len(shadows) > 0 {
		rules = only(rules, func(r *Rule) bool { return !r.Shadow })
	}
	return &List{matcher: newMatcher(flatten(rules)), sets: ruledSets(rules), others: ruledMatchers(rules), decisions: decisions, shadows: shadows}
}

// Decide decides about a client. A zone (fe80::1%eth0) or the IPv4-mapped form of an address makes
// no difference.
//
// A client without an address (of a Unix socket) is the zero Addr. No prefix matches it, not even
// ::/0, so the default decides: a list of allowed networks denies it, a list of denied networks
// allows it.
func (l *List) Decide(addr netip.Addr) Decision {
	if l == nil {
		return Decision{Allow: true, Name: DefaultName}
	}
	rule, _ := l.find(addr)
	return l.decisions[rule+1]
}

// Decisions are all that the list can decide: the default, and then that of each rule, in order.
func (l *List) Decisions() []Decision {
	if l == nil {
		return []Decision{{Allow: true, Name: DefaultName}}
	}
	return slices.Clone(l.decisions)
}

// find returns the index of the rule that decides, or noRule, and the set in which it found the
// address, if any.
func (l *List) find(addr netip.Addr) (rule int32, set *Set) {
	addr = plain(addr)
	rule, set = l.findPrefix(addr)
	if l.others != nil {
		if m := l.findOther(addr, rule); m != nil {
			return m.rule, nil
		}
	}
	return rule, set
}

// findPrefix is find among the prefixes of rules and sets.
func (l *List) findPrefix(addr netip.Addr) (rule int32, set *Set) {
	rule = l.matcher.match(addr)
	for _, s := range l.sets {
		if rule != noRule && rule <= s.rule {
			break
		}
		if s.set.contains(addr) {
			return s.rule, s.set
		}
	}
	return rule, nil
}

// plain is an address as matchers know it.
func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// entry is one prefix and the index of its rule.
type entry struct {
	prefix netip.Prefix
	rule   int32
}

// flatten returns the rules' valid prefixes in the order of the rules, masked and unmapped.
func flatten(rules []Rule) []entry {
	n := 0
	for _, r := range rules {
		n += len(r.Prefixes)
	}
	entries := make([]entry, 0, n)
	for i, r := range rules {
		for _, p := range r.Prefixes {
			if p = canonical(p); p.IsValid() {
				entries = append(entries, entry{p, int32(i)})
			}
		}
	}
	return entries
}

// canonical masks p and turns an IPv4-mapped prefix into the IPv4 one.
func canonical(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}
