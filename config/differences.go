package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Difference is one thing that differs between two configurations: a part that was added or
// removed, or one key of a part.
type Difference struct {
	// Part is "process", "listener", "rule", "list", "pool" or "backend".
	Part string
	// Name is that of the listener, the pool or the list file; "" for the process.
	Name string
	// Item is the address of a backend or the name of a rule.
	Item string
	// Key is the key that has changed, as in "timeouts.idle"; "" if the whole part was added or
	// removed.
	Key string
	// Old and New are the values as in a file, "" if left out. For a part as a whole, Old is "" if
	// it was added, and New is "" if it was removed.
	Old, New string
}

// secrets are the keys whose values are never shown: the token, what maps clients to backends, and
// what a health check says to log in.
var secrets = map[string]bool{"token": true, "seed": true, "send": true}

const hidden = "(hidden)"

// Differences lists what differs between two configurations, in the order of the keys: the process,
// the listeners with their rules, the list files, the pools with their backends. It compares what
// the tables of keys show, so a new key needs no code here.
func Differences(old, next *Config) []Difference {
	d := new(differ)
	d.at = Difference{Part: "process"}
	d.table("", old.fields(), next.fields(), "listeners", "pools")
	d.listeners(old, next)
	d.lists(old, next)
	d.geo(old.Geo, next.Geo)
	d.pools(old, next)
	return d.found
}

// differ collects differences. at is the part that is being compared.
type differ struct {
	at    Difference
	found []Difference
}

func (d *differ) add(key, old, next string) {
	f := d.at
	f.Key, f.Old, f.New = key, abridged(old), abridged(next)
	d.found = append(d.found, f)
}

// table compares the values of two tables of the same part.
func (d *differ) table(prefix string, old, next fields, without ...string) {
	for i := range old {
		if !slices.Contains(without, old[i].key) {
			d.value(prefix+old[i].key, old[i].value, next[i].value)
		}
	}
}

func (d *differ) value(key string, old, next value) {
	if a, ok := old.(interface{ inside() value }); ok {
		b := next.(interface{ inside() value })
		if a.inside() != nil && b.inside() != nil {
			d.value(key, a.inside(), b.inside())
			return
		}
	}
	if a, ok := old.(interface{ fields() fields }); ok {
		d.table(key+".", a.fields(), next.(interface{ fields() fields }).fields())
		return
	}
	a, b := currentOf(old), currentOf(next)
	switch last := key[strings.LastIndexByte(key, '.')+1:]; {
	case a == b:
	case secrets[last]:
		d.add(key, hide(a), hide(b))
	default:
		d.add(key, a, b)
	}
}

func hide(text string) string {
	if text == "" {
		return ""
	}
	return hidden
}

func (d *differ) listeners(old, next *Config) {
	byName := make(map[string]*Listener, len(old.Listeners))
	for i := range old.Listeners {
		byName[old.Listeners[i].Name] = &old.Listeners[i]
	}
	for i := range next.Listeners {
		l := &next.Listeners[i]
		was := byName[l.Name]
		delete(byName, l.Name)
		d.at = Difference{Part: "listener", Name: l.Name}
		if was == nil {
			d.add("", "", l.summary())
			continue
		}
		d.table("", was.fields(), l.fields(), "acl", "routes")
		d.routes(was, l)
		d.rules(was, l)
	}
	for i := range old.Listeners {
		if l := &old.Listeners[i]; byName[l.Name] != nil {
			d.at = Difference{Part: "listener", Name: l.Name}
			d.add("", l.summary(), "")
		}
	}
}

// summary says where a listener listens, and what serves its clients.
func (l *Listener) summary() string {
	var binds []string
	for _, b := range l.Binds {
		binds = append(binds, b.String())
	}
	return strings.Join(binds, ", ") + " -> " + l.Serves()
}

// rules compares two access control lists. What is left of both when the rules that are in both are
// taken out was added or removed. Names are positions, so a rule whose position alone has changed
// did not change.
func (d *differ) rules(old, next *Listener) {
	before, after := old.ACL.texts(), next.ACL.texts()
	same := slices.Equal(before, after)
	removed, added := unmatched(before, after)
	for _, i := range removed {
		d.at.Part, d.at.Item = "rule", old.ACL.Rules[i].Name
		k := slices.IndexFunc(added, func(k int) bool { return next.ACL.Rules[k].Name == old.ACL.Rules[i].Name })
		if k < 0 {
			d.add("", before[i], "")
			continue
		}
		d.rule(&old.ACL.Rules[i], &next.ACL.Rules[added[k]])
		added = slices.Delete(added, k, k+1)
	}
	for _, k := range added {
		d.at.Part, d.at.Item = "rule", next.ACL.Rules[k].Name
		d.add("", "", after[k])
	}
	d.at.Part, d.at.Item = "listener", ""
	if kept := len(before) - len(removed); !same && kept == len(before) && kept == len(after) {
		d.add("acl", "the order of the rules", "another order")
	}
	if a, b := defaultOf(old.ACL), defaultOf(next.ACL); a != b {
		d.add("acl default", a, b)
	}
}

// rule compares two rules that have the same kind and the same position.
func (d *differ) rule(old, next *Rule) {
	before, after := old.entries(), next.entries()
	removed, added := unmatched(before, after)
	if len(removed) > 0 || len(added) > 0 {
		pick := func(all []string, which []int) string {
			var texts []string
			for _, i := range which {
				texts = append(texts, all[i])
			}
			return strings.Join(texts, ", ")
		}
		d.add("clients", pick(before, removed), pick(after, added))
	}
	if old.With != next.With {
		d.add("with", old.With.String(), next.With.String())
	}
	if old.Shadow != next.Shadow {
		d.add("shadow", fmt.Sprint(old.Shadow), fmt.Sprint(next.Shadow))
	}
}

// entries are the clients of a rule, as in a file.
func (r *Rule) entries() []string { return r.Entries(len(r.Prefixes) + len(r.Lists) + len(r.Geo)) }

// Entries are the clients of a rule as in a file, no more than most of them: files first if there
// are more.
func (r *Rule) Entries(most int) []string {
	prefixes := max(0, min(len(r.Prefixes), most-len(r.Lists)))
	all := make([]string, 0, prefixes+len(r.Lists))
	for _, p := range r.Prefixes[:prefixes] {
		if p.IsSingleIP() {
			all = append(all, p.Addr().String())
		} else {
			all = append(all, p.String())
		}
	}
	for _, l := range r.Lists[:min(len(r.Lists), most)] {
		all = append(all, "file:"+l.Name)
	}
	for i := range r.Geo {
		all = append(all, r.Geo[i].String())
	}
	return all
}

// texts are the rules as text.
func (a *ACL) texts() []string {
	if a == nil {
		return nil
	}
	texts := make([]string, len(a.Rules))
	for i := range a.Rules {
		r := &a.Rules[i]
		verb := "deny "
		if r.Allow {
			verb = "allow "
		}
		texts[i] = verb + strings.Join(r.entries(), ", ")
		if r.With != DenyMessage {
			texts[i] += " with " + r.With.String()
		}
		if r.Shadow {
			texts[i] += ", shadow"
		}
		if r.Label != "" {
			texts[i] += ", name " + r.Label
		}
	}
	return texts
}

func defaultOf(a *ACL) string {
	if a.DefaultAllow() {
		return "allow"
	}
	return "deny"
}

// unmatched returns the indices of the texts that only one of the lists has. A text that one list
// has more often counts as often.
func unmatched(before, after []string) (removed, added []int) {
	left := make(map[string]int, len(after))
	for _, text := range after {
		left[text]++
	}
	kept := make(map[string]int)
	for i, text := range before {
		if left[text] > 0 {
			left[text]--
			kept[text]++
		} else {
			removed = append(removed, i)
		}
	}
	for k, text := range after {
		if kept[text] > 0 {
			kept[text]--
		} else {
			added = append(added, k)
		}
	}
	return removed, added
}

// lists compares the contents of the list files that both configurations name.
func (d *differ) lists(old, next *Config) {
	before := old.lists()
	known := make(map[string]*List, len(before))
	for _, l := range before {
		known[l.Name] = l
	}
	for _, l := range next.lists() {
		was := known[l.Name]
		if was == nil || slices.Equal(was.Prefixes, l.Prefixes) {
			continue
		}
		added, removed := prefixChanges(was.Prefixes, l.Prefixes)
		d.at = Difference{Part: "list", Name: l.Name}
		d.add("entries", fmt.Sprint(len(was.Prefixes)),
			fmt.Sprintf("%d (%d added, %d removed)", len(l.Prefixes), added, removed))
	}
}

// lists are the list files of all rules, each once.
func (c *Config) lists() (all []*List) {
	seen := make(map[string]bool)
	for i := range c.Listeners {
		if c.Listeners[i].ACL == nil {
			continue
		}
		for _, r := range c.Listeners[i].ACL.Rules {
			for _, l := range r.Lists {
				if !seen[l.Name] {
					seen[l.Name] = true
					all = append(all, l)
				}
			}
		}
	}
	return all
}

func prefixChanges(old, next []netip.Prefix) (added, removed int) {
	were := make(map[netip.Prefix]bool, len(old)) // true: also in next
	for _, p := range old {
		were[p] = false
	}
	removed = len(were)
	seen := make(map[netip.Prefix]bool)
	for _, p := range next {
		stays, was := were[p]
		switch {
		case was && !stays:
			were[p] = true
			removed--
		case !was && !seen[p]:
			seen[p] = true
			added++
		}
	}
	return added, removed
}

func (d *differ) pools(old, next *Config) {
	byName := make(map[string]*Pool, len(old.Pools))
	for i := range old.Pools {
		byName[old.Pools[i].Name] = &old.Pools[i]
	}
	for i := range next.Pools {
		p := &next.Pools[i]
		was := byName[p.Name]
		delete(byName, p.Name)
		d.at = Difference{Part: "pool", Name: p.Name}
		if was == nil {
			d.add("", "", p.summary())
			continue
		}
		d.table("", was.fields(), p.fields(), "backends")
		d.backends(was, p)
	}
	for i := range old.Pools {
		if p := &old.Pools[i]; byName[p.Name] != nil {
			d.at = Difference{Part: "pool", Name: p.Name}
			d.add("", p.summary(), "")
		}
	}
}

func (p *Pool) summary() string {
	if len(p.Backends) == 1 {
		return "1 backend"
	}
	return fmt.Sprintf("%d backends", len(p.Backends))
}

func (d *differ) backends(old, next *Pool) {
	byAddress := make(map[Address]*Backend, len(old.Backends))
	for i := range old.Backends {
		byAddress[old.Backends[i].Address] = &old.Backends[i]
	}
	for i := range next.Backends {
		b := &next.Backends[i]
		was := byAddress[b.Address]
		delete(byAddress, b.Address)
		d.at = Difference{Part: "backend", Name: next.Name, Item: b.Address.String()}
		if was == nil {
			d.add("", "", b.summary())
			continue
		}
		d.table("", was.fields(), b.fields(), "address")
	}
	for i := range old.Backends {
		if b := &old.Backends[i]; byAddress[b.Address] != nil {
			d.at = Difference{Part: "backend", Name: old.Name, Item: b.Address.String()}
			d.add("", b.summary(), "")
		}
	}
}

// summary lists the settings of a backend, beside its address.
func (b *Backend) summary() string { return b.fields()[1:].current() }
