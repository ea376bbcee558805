package config

import (
	"strings"
	"unicode"
)

// list is a list of values of one kind. All of them are decoded and checked in one variable, with
// one path: a table and paths for each of ten thousand backends would take most of the time of a
// start.
type list[T any] struct {
	dst   *[]T
	item  func(*T) value
	alone bool // one value may stand without brackets
	none  bool // it may be empty
	limit int  // the most items; 0 is no limit
}

func listOf[T any](dst *[]T, item func(*T) value) list[T] {
	return list[T]{dst: dst, item: item}
}

func (v list[T]) orOne() list[T] {
	v.alone = true
	return v
}

func (v list[T]) orNone() list[T] {
	v.none = true
	return v
}

func (v list[T]) most(limit int) list[T] {
	v.limit = limit
	return v
}

func (v list[T]) reset()        { *v.dst = nil }
func (v list[T]) empty() bool   { return *v.dst == nil }
func (v list[T]) shown() string { return "" }

// decode keeps an item that cannot be read, at its default, so that positions in the list are those
// of the file.
func (v list[T]) decode(d *decoder, n *node, p *path) {
	items := n.items
	switch {
	case n.kind == kindList && v.limit > 0 && len(items) > v.limit:
		d.faultf(n, p, "write fewer", "the list %s has more than %d entries", p.last(), v.limit)
		return
	case n.kind == kindList:
	case v.alone:
		items = []*node{n}
	default:
		fix := "write it as a list, in [ ]"
		if n.kind == kindNull {
			fix = ""
		}
		d.expected(n, p, "a list", fix)
		return
	}
	*v.dst = make([]T, len(items))
	var one T
	of, at := v.item(&one), p.item(0)
	of.reset()
	defaults := one
	for i, item := range items {
		one = defaults
		at.index = i
		of.decode(d, item, at)
		(*v.dst)[i] = one
	}
}

func (v list[T]) check(c *checker, p *path) {
	if *v.dst != nil && len(*v.dst) == 0 && !v.none {
		c.faultf(p, "write at least one entry", "the list %s is empty", p.last())
	}
	if v.limit > 0 && len(*v.dst) > v.limit {
		c.faultf(p, "write fewer", "the list %s has more than %d entries", p.last(), v.limit)
	}
	var one T
	of, at := v.item(&one), p.item(0)
	for i := range *v.dst {
		one = (*v.dst)[i]
		at.index = i
		of.check(c, at)
	}
}

func (v list[T]) schema() schema {
	item := v.item(new(T)).schema()
	if v.alone {
		return oneOrMore(item)
	}
	if v.none {
		return schema{"type": "array", "items": item}
	}
	return schema{"type": "array", "items": item, "minItems": 1}
}

// namedPart is a part that has a name, which the user chooses.
type namedPart interface {
	Part
	name() *string
}

// namedParts is a mapping from names to parts.
type namedParts[T any, P interface {
	*T
	namedPart
}] struct {
	dst  *[]T
	what string
}

func named[T any, P interface {
	*T
	namedPart
}](dst *[]T, what string) namedParts[T, P] {
	return namedParts[T, P]{dst, what}
}

func (v namedParts[T, P]) reset()        { *v.dst = nil }
func (v namedParts[T, P]) empty() bool   { return *v.dst == nil }
func (v namedParts[T, P]) shown() string { return "" }

func (v namedParts[T, P]) decode(d *decoder, n *node, p *path) {
	example := "write NAME: {" + strings.TrimPrefix(P(new(T)).fields().example(), "write ") + "}"
	if n.kind != kindMap {
		d.expected(n, p, "a mapping from names to "+v.what+"s", example)
		return
	}
	if len(n.members) == 0 {
		d.faultf(n, p, example, "there is no %s", v.what)
	}
	first := make(map[string]int, len(n.members))
	for _, m := range n.members {
		p := p.child(m.key)
		if line, ok := first[m.key]; ok {
			d.faultf(m.keyNode(), p, "choose another name", "the %s %s is repeated, first on line %d", v.what, quote(m.key), line)
			continue
		}
		first[m.key] = m.line
		part := P(new(T))
		SetDefaults(part)
		*part.name() = m.key
		section(part).decode(d, m.value, p)
		*v.dst = append(*v.dst, *part)
	}
}

func (v namedParts[T, P]) check(c *checker, p *path) {
	seen := make(map[string]bool, len(*v.dst))
	for i := range *v.dst {
		part := P(&(*v.dst)[i])
		name := *part.name()
		c.name(p.child(name), name)
		if seen[name] {
			c.faultf(p.child(name), "choose another name", "the %s %s is repeated", v.what, quote(name))
		}
		seen[name] = true
		section(part).check(c, p.child(name))
	}
}

func (v namedParts[T, P]) schema() schema {
	return schema{
		"type": "object", "minProperties": 1, "additionalProperties": P(new(T)).fields().schema(),
		"propertyNames": schema{"type": "string", "pattern": `^\S+$`, "maxLength": maxNameLen},
	}
}

const maxNameLen = 64

// checkName keeps names fit for logs, metrics and URLs.
func checkName(name string) *Fault {
	switch {
	case name == "":
		return faultf("write a name", "the name is empty")
	case strings.Contains(name, "${"):
		return faultf("write the name out", "the name %s contains a variable, and only values may", quote(name))
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return faultf("choose a printable name without spaces", "the name %s contains a space or a character that cannot be printed", quote(name))
	case len(name) > maxNameLen:
		return faultf("write a shorter one", "the name %s is longer than %d bytes", quote(name), maxNameLen)
	}
	return nil
}
