package control

import (
	"slices"

	"l4proxy/acl"
	"l4proxy/config"
)

// denyActions are the ways to treat a denied client.
var denyActions = map[config.DenyAction]acl.Action{
	config.DenyMessage: acl.Message, config.DenyClose: acl.Close, config.DenyReset: acl.Reset,
	config.DenyDrop: acl.Drop, config.DenyTarpit: acl.Tarpit,
}

// DenyAction is the action of the data plane for one of the configuration.
func DenyAction(a config.DenyAction) acl.Action { return denyActions[a] }

// Lists are the sets made from list files. Each is made once, for all listeners. A list whose
// content has not changed keeps the set of the configuration before: it takes a second to make one
// of a million prefixes.
type Lists struct {
	made, before map[*config.List]*acl.Set
}

func (s Lists) of(l *config.List) *acl.Set {
	if s.made[l] == nil {
		s.made[l] = s.unchanged(l)
	}
	if s.made[l] == nil {
		s.made[l] = acl.NewSet(l.Prefixes)
		s.made[l].Name = l.Name
	}
	return s.made[l]
}

// unchanged is the set of an equal list of the configuration before, or nil.
func (s Lists) unchanged(l *config.List) *acl.Set {
	for old, set := range s.before {
		if old.Name == l.Name && slices.Equal(old.Prefixes, l.Prefixes) {
			return set
		}
	}
	return nil
}

func (s Lists) buildACL(a *config.ACL, g *config.Geo) *acl.List {
	if a == nil {
		return nil
	}
	rules := make([]acl.Rule, len(a.Rules))
	for i, r := range a.Rules {
		rules[i] = acl.Rule{Name: r.Name, Allow: r.Allow, Prefixes: r.Prefixes, Action: denyActions[r.With], Shadow: r.Shadow}
		for _, l := range r.Lists {
			rules[i].Sets = append(rules[i].Sets, s.of(l))
		}
		rules[i].Matchers = geoMatchers(g, r.Geo)
	}
	return acl.Build(rules, a.DefaultAllow())
}
