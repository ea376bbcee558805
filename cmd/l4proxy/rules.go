package main

import (
	"slices"
	"strings"

	"l4proxy/admin"
	"l4proxy/config"
	"l4proxy/proxy"
)

// rulesShown bounds the rules of a listener that a status has, and entriesShown the entries that it
// names for each.
const (
	rulesShown   = 200
	entriesShown = 4
)

// ruleStatus is the access control list of each listener, with what its rules have counted, and how
// many clients are held in tarpits. A listener without a list has no rules.
func (p *process) ruleStatus() (all map[string][]admin.RuleStatus, tarpitted map[string]uint64) {
	counts := p.server.Counts().Listeners
	all, tarpitted = make(map[string][]admin.RuleStatus), make(map[string]uint64)
	cfg := p.currentConfig()
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		at := slices.IndexFunc(counts, func(c proxy.ListenerCounts) bool { return c.Listener.Name == l.Name })
		if at < 0 {
			continue
		}
		tarpitted[l.Name] = counts[at].Tarpitted
		if l.ACL == nil {
			continue
		}
		for k := range l.ACL.Rules[:min(len(l.ACL.Rules), rulesShown)] {
			all[l.Name] = append(all[l.Name], statusOfRule(&l.ACL.Rules[k]))
		}
		all[l.Name] = append(all[l.Name], defaultStatus(l.ACL))
		for k := range all[l.Name] {
			p.addCounts(&all[l.Name][k], counts[at].Rules)
		}
	}
	return all, tarpitted
}

func statusOfRule(r *config.Rule) admin.RuleStatus {
	s := admin.RuleStatus{Name: r.Name, Action: "allow", Shadow: r.Shadow, Prefixes: r.Count()}
	if !r.Allow {
		s.Action = r.With.String()
	}
	shown := r.Entries(entriesShown)
	s.Clients = strings.Join(shown, ", ")
	if more := len(r.Prefixes) + len(r.Lists) - len(shown); more > 0 {
		s.Clients += " and " + count(more, "other entry")
	}
	return s
}

func defaultStatus(a *config.ACL) admin.RuleStatus {
	s := admin.RuleStatus{Name: config.DefaultRule, Action: "allow", Clients: "all others"}
	if !a.DefaultAllow() {
		s.Action = config.DenyMessage.String()
	}
	return s
}

// addCounts adds what the rule has counted.
func (p *process) addCounts(s *admin.RuleStatus, counts []proxy.RuleCount) {
	kind := proxy.RuleDeny
	switch {
	case s.Shadow:
		kind = proxy.RuleShadow
	case s.Action == "allow":
		kind = proxy.RuleAllow
	}
	for _, c := range counts {
		if c.Rule == s.Name && c.Kind == kind {
			s.Hits, s.LastHit = c.Hits, known(p.live.Clock(int64(c.Last)))
		}
	}
}
