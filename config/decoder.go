package config

import (
	"errors"
	"strings"
)

// decoder turns the tree into a Config and collects every problem on the way.
// A value with a problem is left at its default; nothing is returned to the
// caller when there was any.
type decoder struct {
	file     string
	env      func(string) (string, bool)
	readList func(name string) ([]byte, error) // reads a "file:" list
	problems Problems
	warnings Problems
	dropped  int              // problems past maxProblems
	lists    map[string]*List // "file:" lists already read, by path
	bound    int              // binds in the whole file
	pools    map[string]*poolUse
	unclear  bool // a listener's pool, or what it does without a backend, is not known
}

func (d *decoder) add(p Problem) {
	if len(d.problems) >= maxProblems {
		d.dropped++
		return
	}
	d.problems = append(d.problems, p)
}

func (d *decoder) warn(p Problem) {
	if len(d.warnings) < maxProblems {
		d.warnings = append(d.warnings, p)
	}
}

// count is the number of problems so far.
func (d *decoder) count() int { return len(d.problems) + d.dropped }

// addresses adds the problems that CheckAddresses finds.
func (d *decoder) addresses(c *Config) {
	var ps Problems
	if errors.As(CheckAddresses(c.Listeners, c.Pools, Machine{}), &ps) {
		for _, p := range ps {
			d.add(p)
		}
	}
}

func (d *decoder) fault(n *node, f *fault) {
	d.add(Problem{File: d.file, Line: n.line, Col: n.col, Msg: f.msg, Fix: f.fix})
}

func (d *decoder) faultf(n *node, fix, format string, args ...any) {
	d.fault(n, faultf(fix, format, args...))
}

func (d *decoder) expected(n *node, what, fix string) {
	if n.kind == kindNull && fix == "" {
		fix = "write a value or remove the key"
	}
	d.faultf(n, fix, "expected %s, got %s", what, n)
}

func (d *decoder) position(n *node) Position {
	return Position{File: d.file, Line: n.line, Col: n.col}
}

func (m *member) position(file string) Position {
	return Position{File: file, Line: m.line, Col: m.col}
}

// keyNode stands for a member's key where a problem is with the key, or with
// something that its mapping lacks.
func (m *member) keyNode() *node {
	return &node{line: m.line, col: m.col}
}

// find stands for a key of a mapping; nil if it is not there, or n is none.
func (n *node) find(key string) *node {
	for _, m := range n.members {
		if m.key == key {
			return m.keyNode()
		}
	}
	return nil
}

// findInside is find for the first item of a list that has the key.
func (n *node) findInside(key string) *node {
	for _, item := range n.items {
		if at := item.find(key); at != nil {
			return at
		}
	}
	return nil
}

// fields are the values of a mapping's known keys.
type fields map[string]*node

// object checks that n is a mapping with only the keys of s, each at most once
// and none missing. at is where a missing key is reported.
func (d *decoder) object(n, at *node, s *section) (fields, bool) {
	if n.kind != kindMap {
		d.expected(n, "a mapping with "+oneOf(s.required()), s.example())
		return nil, false
	}
	f := make(fields, len(n.members))
	lines := make(map[string]int, len(n.members))
	mistyped := make(map[string]bool) // told already; not missing as well
	for _, m := range n.members {
		if first, ok := lines[m.key]; ok {
			d.faultf(m.keyNode(), "keep one of them", "%s is repeated, first on line %d", m.key, first)
			continue
		}
		k := s.key(m.key)
		if p, ok := s.elsewhere[m.key]; ok && k == nil {
			d.faultf(m.keyNode(), "write it there, as in "+p.example, "%s belongs to %s", m.key, p.owner)
			continue
		}
		if k == nil {
			if len(d.problems) >= maxProblems {
				d.dropped++ // no suggestion: finding one takes long
				continue
			}
			d.faultf(m.keyNode(), didYouMean(m.key, s.names()), "unknown key %s", quote(m.key))
			if meant := suggest(m.key, s.names()); meant != "" {
				mistyped[meant] = true
			}
			continue
		}
		lines[m.key] = m.line
		if k.unsupported {
			d.unsupported(m.keyNode(), s.path(k.name))
			continue
		}
		f[m.key] = m.value
	}
	for _, k := range s.keys {
		if _, ok := lines[k.name]; !ok && k.required && !mistyped[k.name] {
			d.faultf(at, k.hint, "%s is missing", s.path(k.name))
		}
	}
	return f, true
}

func (d *decoder) unsupported(n *node, what string) {
	d.faultf(n, "remove it", "%s is not supported yet", what)
}

// scalar returns the text of a bool, number or string with its variables
// expanded. variable tells that there were some: such a text may stand for any
// type, since neither format lets a reader write ${N} as a number.
func (d *decoder) scalar(n *node) (text string, variable, ok bool) {
	if n.kind != kindString {
		return n.text, false, true
	}
	text, f := expand(n.text, d.env)
	if f != nil {
		d.fault(n, f)
		return "", false, false
	}
	return text, text != n.text || strings.Contains(n.text, "${"), true
}

// str returns a string value; what names it for messages ("host:port").
func (d *decoder) str(n *node, what string) (string, bool) {
	if n.kind != kindString {
		d.expected(n, what, "")
		return "", false
	}
	text, _, ok := d.scalar(n)
	return text, ok
}

// text is str for values that may well be meant to be a number or a bool.
func (d *decoder) text(n *node, what string) (string, bool) {
	if n.kind == kindNumber || n.kind == kindBool {
		d.expected(n, what, "write "+quote(n.text)+", in quotes")
		return "", false
	}
	return d.str(n, what)
}

// stringList returns the nodes of a list, or the one node of a single string.
func (d *decoder) stringList(n *node, what string) ([]*node, bool) {
	switch n.kind {
	case kindList:
		return n.items, true
	case kindString:
		return []*node{n}, true
	}
	fix := ""
	if n.kind == kindNumber {
		fix = "write " + quote(n.text) + ", in quotes"
	}
	d.expected(n, what, fix)
	return nil, false
}
