package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"time"
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
// Shadow rules change nothing, and not the default either.
func (a *ACL) DefaultAllow() bool {
	if a == nil {
		return true
	}
	for i := range a.Rules {
		if a.Rules[i].Allow && !a.Rules[i].Shadow {
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
	// Shadow says that the rule only counts and logs what it would have decided.
	Shadow bool
	// Label is the name that the configuration gives the rule, "" for none.
	Label string
	// Name is a short name for logs and metrics: Label or, without one, the kind and the position
	// in the list, counted from 0 ("deny[0]", "allow[1]"). Complete sets it.
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
		{"with", enum(&r.With, denyActions, DenyMessage), "What a denied client sees: the `deny_message`, a plain `close` (the stream ends cleanly), a `reset`, or nothing: with `drop`, the connection is forgotten without a FIN or reset; with `tarpit`, it is held open; see [Deny actions](edge.md#deny-actions). Only with `deny`."},
		{"shadow", boolean(&r.Shadow, false), "Only count and log the clients that the rule matches; the next rules decide. See [Shadow rules](edge.md#shadow-rules)."},
		{"name", text(&r.Label, "a name").where(checkLabel), "The rule's name in logs and metrics, unique in the list. If omitted, it is `allow[N]` or `deny[N]`, with its position, so its counts end when another rule is put in front of it."},
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

// positional are the names that rules without one get.
var positional = regexp.MustCompile(`^(allow|deny)\[[0-9]+\]$`)

// checkLabel keeps the names of rules apart from those that l4proxy gives.
func checkLabel(name string) *Fault {
	if name == DefaultRule || positional.MatchString(name) {
		return faultf("choose another name", "the name %s stands for another rule in logs and metrics", quote(name))
	}
	return checkName(name)
}

// setNames names the rules.
func (a *ACL) setNames() {
	for i := range a.Rules {
		switch r := &a.Rules[i]; {
		case r.Label != "":
			r.Name = r.Label
		case r.Allow:
			r.Name = fmt.Sprintf("allow[%d]", i)
		default:
			r.Name = fmt.Sprintf("deny[%d]", i)
		}
	}
}

// distinct checks that rules have different names.
func (c *checker) distinct(a *ACL, at *path) {
	seen := make(map[string]bool)
	for i := range a.Rules {
		name := a.Rules[i].Label
		if name != "" && seen[name] {
			c.faultf(at.item(i).child("name"), "choose another name", "another rule has the name %s", quote(name))
		}
		seen[name] = true
	}
}

func (t *Tarpit) fields() fields {
	return fields{
		{"time", duration(&t.Time).def("30s"), "How long a client is held. Then it is reset."},
		{"max", integer(&t.Max, 1, maxTarpit).def("1000"), "How many clients are held at once. When there are more, those held longest are reset. Each costs a file descriptor."},
	}
}

// Tarpit bounds how long and how many clients of a listener DenyTarpit holds.
type Tarpit struct {
	Time time.Duration
	Max  int
}

const maxTarpit = 1_000_000
