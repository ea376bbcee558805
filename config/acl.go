package config

import (
	"fmt"
	"net/netip"
)

// ACL is an ordered list of rules; the first that matches decides.
type ACL struct {
	Rules []Rule
}

// DefaultRule is the name to log and count under when no rule of an ACL matched and its default
// decided.
const DefaultRule = "default"

// DefaultAllow reports what happens to an address that no rule matches: a list with at least one
// allow rule denies it (with the message), any other list, and no list at all (nil), allows it.
func (a *ACL) DefaultAllow() bool {
	if a == nil {
		return true
	}
	for i := range a.Rules {
		if a.Rules[i].Allow {
			return false
		}
	}
	return true
}

// Rule is one entry of an ACL.
type Rule struct {
	Allow bool
	// Prefixes are masked; IPv4-mapped IPv6 is written as IPv4; a single address is a /32 or a
	// /128. They may repeat and overlap.
	Prefixes []netip.Prefix
	// Lists are the files that the rule names. With no prefix there or here, the rule matches no
	// client.
	Lists []*List
	// Geo are the countries and networks.
	Geo []GeoMatch
	// With is what a denied client sees; an allow rule has DenyMessage here.
	With DenyAction
	// Name is a short label for logs and metrics: the kind and the position in the list, counted
	// from 0 ("deny[0]", "allow[1]"). Complete sets it.
	Name string
}

// List is the content of a file that ACLs name: one IP address or CIDR prefix per line, with
// comments (# or ;) and blank lines. Rules that name the same file share one List.
type List struct {
	// Name is the file's path.
	Name string
	// Prefixes follow the same rules as Rule.Prefixes.
	Prefixes []netip.Prefix
}

// Count returns how many prefixes the rule has, those of its lists included.
func (r *Rule) Count() int {
	n := len(r.Prefixes)
	for _, l := range r.Lists {
		n += len(l.Prefixes)
	}
	return n
}

func (r *Rule) fields() fields {
	return fields{
		{"allow", clients{r, true}, "Allow these clients."},
		{"deny", clients{r, false}, "Deny these clients. A rule has either `allow` or `deny`."},
		{"with", enum(&r.With, denyActions, DenyMessage), "What a denied client sees: the `deny_message`, a plain `close` (the stream ends cleanly), or a `reset`. Only with `deny`."},
	}
}

// ruleValue is a rule in a list.
type ruleValue struct{ either[*Rule] }

func rule(r *Rule) value {
	return ruleValue{either[*Rule]{structureOf(r), [2]string{"allow", "deny"}, "[...]"}}
}

func (v ruleValue) check(c *checker, p *path) {
	v.either.check(c, p)
	if v.of.Allow && v.of.With != DenyMessage {
		c.faultf(p.child("with"), "remove it", "with is for deny rules")
	}
}

func (v ruleValue) schema() schema {
	s := v.either.schema()
	s["not"] = schema{"required": []string{"allow", "with"}}
	return s
}

// clients is the value of allow and deny.
type clients struct {
	rule  *Rule
	allow bool
}

func (v clients) reset() {}

func (v clients) decode(d *decoder, n *node, p *path) {
	v.rule.Allow = v.allow
	d.geo = nil
	v.rule.Prefixes, v.rule.Lists = d.prefixes(n, p, true)
	v.rule.Geo = d.geo
	if n.kind == kindList && len(n.items) == 0 {
		fix := "write addresses, or remove the rule"
		if v.allow {
			fix = `write {deny: [0.0.0.0/0, "::/0"]} to deny all clients, or remove the rule`
		}
		d.faultf(n, p, fix, "the list is empty, so the rule can never match")
	}
}

func (v clients) check(c *checker, p *path) {
	if v.rule.Allow != v.allow {
		return
	}
	v.checkGeo(c, p)
	for i, prefix := range v.rule.Prefixes {
		c.add(p.item(i), checkPrefix(prefix, prefix.String()))
	}
}

func (v clients) schema() schema { return oneOrMore(anyOf(schema{"type": "string"}, geoSchema())) }
func (v clients) shown() string  { return "" }

func ruleName(allow bool, index int) string {
	if allow {
		return fmt.Sprintf("allow[%d]", index)
	}
	return fmt.Sprintf("deny[%d]", index)
}
