package control

import (
	"l4proxy/acl"
	"l4proxy/config"
)

// denyActions are the ways to treat a denied client.
var denyActions = map[config.DenyAction]acl.Action{
	config.DenyMessage: acl.Message, config.DenyClose: acl.Close, config.DenyReset: acl.Reset,
}

// DenyAction is the action of the data plane for one of the configuration.
func DenyAction(a config.DenyAction) acl.Action { return denyActions[a] }

// sets are the sets made from list files. Each is made once, for all listeners.
type sets map[*config.List]*acl.Set

func (s sets) of(l *config.List) *acl.Set {
	if s[l] == nil {
		s[l] = acl.NewSet(l.Prefixes)
		s[l].Name = l.Name
	}
	return s[l]
}

func (s sets) buildACL(a *config.ACL, g *config.Geo) *acl.List {
	if a == nil {
		return nil
	}
	rules := make([]acl.Rule, len(a.Rules))
	for i, r := range a.Rules {
		rules[i] = acl.Rule{Name: r.Name, Allow: r.Allow, Prefixes: r.Prefixes, Action: denyActions[r.With]}
		for _, l := range r.Lists {
			rules[i].Sets = append(rules[i].Sets, s.of(l))
		}
		rules[i].Matchers = geoMatchers(g, r.Geo)
	}
	return acl.Build(rules, a.DefaultAllow())
}
