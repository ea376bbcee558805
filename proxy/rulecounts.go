package proxy

import (
	"slices"
	"sync/atomic"
	"time"

	"l4proxy/acl"
)

// RuleCount is what a rule of an access control list, or its default, has done.
type RuleCount struct {
	Rule string
	Kind RuleKind
	Hits uint64        // clients for which the rule decided; with RuleShadow, would have decided
	Last time.Duration // of the last of them, on the loops' clock; 0 for none
}

// RuleKind is what a rule does with the clients that it hits.
type RuleKind uint8

// The kinds.
const (
	RuleAllow RuleKind = iota
	RuleDeny
	RuleShadow // nothing: the next rules decide
	ruleKinds
)

var ruleKindNames = [ruleKinds]string{"allow", "deny", "shadow"}

func (k RuleKind) String() string { return ruleKindNames[k] }

func kindOf(d acl.Decision) RuleKind {
	switch {
	case d.Shadow:
		return RuleShadow
	case d.Allow:
		return RuleAllow
	}
	return RuleDeny
}

// ruleCounters count what the rules of an access control list do, on one worker. They belong to one
// list: another list has its own, which share the counters of rules with the same name and kind.
type ruleCounters struct {
	list  *acl.List
	rules []RuleCount    // by the index of the decision; without counts
	of    []*ruleCounter // the same
}

// A ruleCounter is that of one rule.
type ruleCounter struct {
	hits counter
	last atomic.Int64 // loop clock
}

// countersPerLine fill a cache line: those of another worker must not share it.
const countersPerLine = 4

// newRuleCounters returns the counters for a list. old is nil for none.
func newRuleCounters(list *acl.List, old *ruleCounters) *ruleCounters {
	decisions := list.Decisions()
	r := &ruleCounters{list: list, rules: make([]RuleCount, len(decisions)), of: make([]*ruleCounter, len(decisions))}
	known := make(map[RuleCount]*ruleCounter)
	if old != nil {
		for i, of := range old.of {
			known[old.rules[i]] = of
		}
	}
	var fresh []ruleCounter
	for i, d := range decisions {
		rule := RuleCount{Rule: d.Name, Kind: kindOf(d)}
		r.rules[i] = rule
		if r.of[i] = known[rule]; r.of[i] != nil {
			delete(known, rule)
			continue
		}
		if len(fresh) == 0 {
			fresh = make([]ruleCounter, countersPerLine)
		}
		r.of[i], fresh = &fresh[0], fresh[1:]
	}
	return r
}

// hit counts a client for which a rule of a list has decided. The list may be that of the State
// before: then the rule is found by its name, if it still exists.
func (l *listenerCounters) hit(list *acl.List, d acl.Decision, now int64) {
	r := l.rules.Load()
	if r == nil {
		return
	}
	at := int(d.Rule)
	if r.list != list {
		at = slices.Index(r.rules, RuleCount{Rule: d.Name, Kind: kindOf(d)})
	}
	if at >= 0 {
		r.of[at].hits.add(1)
		r.of[at].last.Store(now)
	}
}

// addRules adds what one worker has counted. All workers have the same rules, except while Apply
// changes them.
func (c *ListenerCounts) addRules(r *ruleCounters) {
	if r == nil {
		return
	}
	for i, of := range r.of {
		rule := r.rules[i]
		rule.Hits, rule.Last = of.hits.get(), time.Duration(of.last.Load())
		c.addRule(i, rule)
	}
}

// addRule adds the count of a rule, which is expected at the index at.
func (c *ListenerCounts) addRule(at int, of RuleCount) {
	is := func(r RuleCount) bool { return r.Rule == of.Rule && r.Kind == of.Kind }
	if at >= len(c.Rules) || !is(c.Rules[at]) {
		at = slices.IndexFunc(c.Rules, is)
	}
	if at < 0 {
		c.Rules = append(c.Rules, of)
		return
	}
	c.Rules[at].Hits += of.Hits
	c.Rules[at].Last = max(c.Rules[at].Last, of.Last)
}

// Denied is the number of clients that rules, and the default, have denied.
func (c *ListenerCounts) Denied() (n uint64) {
	for _, r := range c.Rules {
		if r.Kind == RuleDeny {
			n += r.Hits
		}
	}
	return n
}
