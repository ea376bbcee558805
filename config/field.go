package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// field is one key of a mapping: its name, the value that it sets, and what it is for, in Markdown.
type field struct {
	key   string
	value value
	doc   string
}

// fields are the keys of one mapping, in the order of the reference.
type fields []field

// value is the value of a key. It points into a part of a Config.
type value interface {
	// reset sets the default.
	reset()
	// decode sets what n says, or reports why it cannot.
	decode(d *decoder, n *node, p *path)
	// check reports what is wrong with the value as it is.
	check(c *checker, p *path)
	schema() schema
	// shown is the default as it is written in a file, "" for none.
	shown() string
}

// Part is a part of a configuration that has a table of keys: a [Config], [Listener], [Pool],
// [Backend], [Health] and so on.
type Part interface {
	fields() fields
}

// SetDefaults sets every value of a part to its default.
func SetDefaults(part Part) {
	for _, f := range part.fields() {
		f.value.reset()
	}
}

func (fs fields) find(key string) *field {
	for i := range fs {
		if fs[i].key == key {
			return &fs[i]
		}
	}
	return nil
}

// keys are those that are supported.
func (fs fields) keys() []string {
	var keys []string
	for _, f := range fs {
		if _, later := f.value.(unsupported); !later {
			keys = append(keys, f.key)
		}
	}
	return keys
}

// example is what to write for a mapping with these keys.
func (fs fields) example() string {
	for _, f := range fs {
		if r, ok := f.value.(requiredValue); ok {
			return r.hint
		}
	}
	if shown := fs[0].value.shown(); shown != "" {
		return "write {" + fs[0].key + ": " + shown + "}"
	}
	return "write {" + fs[0].key + ": ...}"
}

// structure is a mapping with the keys of a part. Its table is made once: see [list].
type structure[P Part] struct {
	of    P
	table *fields
}

func structureOf[P Part](part P) structure[P] { return structure[P]{part, new(fields)} }

func section[P Part](part P) value { return structureOf(part) }

func (v structure[P]) fields() fields {
	if *v.table == nil {
		*v.table = v.of.fields()
	}
	return *v.table
}

func (v structure[P]) reset() {
	for _, f := range v.fields() {
		f.value.reset()
	}
}

func (v structure[P]) shown() string { return "" }

func (v structure[P]) decode(d *decoder, n *node, p *path) {
	fs := v.fields()
	if n.kind != kindMap {
		d.expected(n, p, "a mapping", fs.example())
		return
	}
	seen := make(map[string]int, len(n.members))
	for _, m := range n.members {
		f := fs.find(m.key)
		if f == nil {
			d.unknownKey(m, p, fs)
			continue
		}
		if first, ok := seen[m.key]; ok {
			d.faultf(m.keyNode(), p.child(m.key), "keep one of them", "%s is repeated, first on line %d", m.key, first)
			continue
		}
		seen[m.key] = m.line
		if _, later := f.value.(unsupported); later {
			d.report(Fault{Path: p.child(m.key).String(), Msg: p.child(m.key).short() + " is not supported yet", Fix: "remove it"}, m.keyNode())
			continue
		}
		f.value.decode(d, m.value, p.child(m.key))
	}
}

func (v structure[P]) check(c *checker, p *path) {
	at := path{up: p, index: -1} // one for all keys: no check keeps it
	for _, f := range v.fields() {
		at.key = f.key
		f.value.check(c, &at)
	}
}

func (v structure[P]) schema() schema { return v.fields().schema() }

// shorthand is a mapping whose first key may be written alone.
type shorthand[P Part] struct{ structure[P] }

func (v shorthand[P]) decode(d *decoder, n *node, p *path) {
	if n.kind == kindMap {
		v.structure.decode(d, n, p)
		return
	}
	v.fields()[0].value.decode(d, n, p)
}

func (v shorthand[P]) schema() schema {
	return anyOf(v.fields()[0].value.schema(), v.structure.schema())
}

// either is a mapping that has one of two keys, and not both.
type either[P Part] struct {
	structure[P]
	keys  [2]string
	shape string // of their values, for messages
}

func (v either[P]) decode(d *decoder, n *node, p *path) {
	v.structure.decode(d, n, p)
	a, b := v.keys[0], v.keys[1]
	hasA, hasB := n.member(a) != nil, n.member(b) != nil
	unknown := func(m *member) bool { return v.fields().find(m.key) == nil }
	switch {
	case n.kind != kindMap || hasA != hasB:
	case !hasA && slices.ContainsFunc(n.members, unknown):
		d.unread.add(p) // the unknown key is most likely one of the two, mistyped
	default:
		d.faultf(n, p, fmt.Sprintf("write {%s: %s} or {%s: %s}", a, v.shape, b, v.shape), "expected either %s or %s", a, b)
	}
}

func (v either[P]) schema() schema {
	s := v.structure.schema()
	s["oneOf"] = []schema{{"required": v.keys[:1]}, {"required": v.keys[1:]}}
	return s
}

// pointerTo is a value that is nil when its key is left out.
type pointerTo[T any] struct {
	dst **T
	of  func(*T) value
}

func pointer[T any](dst **T, of func(*T) value) value { return pointerTo[T]{dst, of} }

// optional is a mapping that is nil when its key is left out.
func optional[T any, P interface {
	*T
	Part
}](dst **T) value {
	return pointer(dst, func(part *T) value { return section(P(part)) })
}

func (v pointerTo[T]) reset()        { *v.dst = nil }
func (v pointerTo[T]) shown() string { return "" }

func (v pointerTo[T]) decode(d *decoder, n *node, p *path) {
	*v.dst = new(T)
	of := v.of(*v.dst)
	of.reset()
	of.decode(d, n, p)
}

func (v pointerTo[T]) check(c *checker, p *path) {
	if *v.dst != nil {
		v.of(*v.dst).check(c, p)
	}
}

func (v pointerTo[T]) schema() schema { return v.of(new(T)).schema() }

// requiredValue is a list, an address or a set of names that must not be empty.
type requiredValue struct {
	emptyable
	hint string // what to write when it is missing
}

type emptyable interface {
	value
	empty() bool
}

func required(v emptyable, hint string) value { return requiredValue{v, hint} }

func (v requiredValue) check(c *checker, p *path) {
	if v.empty() {
		c.faultf(p, v.hint, "%s is missing", p.last())
	}
	v.emptyable.check(c, p)
}

// unsupported stands for a key that belongs to the configuration language, but whose feature is not
// built: it is refused, never ignored.
type unsupported struct{}

func (unsupported) reset()                        {}
func (unsupported) decode(*decoder, *node, *path) {}
func (unsupported) check(*checker, *path)         {}
func (unsupported) schema() schema                { return nil }
func (unsupported) shown() string                 { return "" }

// nested is a value that is made of mappings.
type nested interface {
	// inner returns their table, and what to add to the name of the key to name them in the
	// reference.
	inner() (suffix string, fs fields)
}

func (v structure[P]) inner() (string, fields)     { return "", v.fields() }
func (v namedParts[T, P]) inner() (string, fields) { return ".NAME", P(new(T)).fields() }
func (v requiredValue) inner() (string, fields)    { return innerOf(v.emptyable) }
func (v pointerTo[T]) inner() (string, fields)     { return innerOf(v.of(new(T))) }
func (v list[T]) inner() (string, fields)          { return innerOf(v.item(new(T))) }

func innerOf(v value) (suffix string, fs fields) {
	if n, ok := v.(nested); ok {
		return n.inner()
	}
	return "", nil
}

// sections are the tables of all mappings of the full form, by the path that the reference gives
// them: "", "log", "listeners.NAME", "listeners.NAME.acl".
var sections = sync.OnceValue(func() map[string]fields {
	found := make(map[string]fields)
	var visit func(at string, fs fields)
	visit = func(at string, fs fields) {
		found[at] = fs
		for _, f := range fs {
			if suffix, inner := innerOf(f.value); inner != nil {
				visit(strings.TrimPrefix(at+"."+f.key+suffix, "."), inner)
			}
		}
	}
	visit("", new(Config).fields())
	return found
})

// elsewhere names the sections that have a key, "" if there is none.
func elsewhere(key string) string {
	var found []string
	for at, fs := range sections() {
		if slices.Contains(fs.keys(), key) {
			found = append(found, cmp.Or(at, "the top level"))
		}
	}
	if found == nil {
		return ""
	}
	slices.Sort(found)
	return oneOf(found)
}
