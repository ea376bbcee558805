package config

import (
	"fmt"
	"strings"
)

const (
	maxDepth    = 32
	maxProblems = 1000 // reported; the rest is counted
)

// decoder fills a Config from the tree of a file and collects what it cannot read on the way. Such
// a value is left at its default.
type decoder struct {
	file     string
	env      func(string) (string, bool)
	readList func(name string) ([]byte, error) // reads a "file:" list
	lists    map[string]*List                  // "file:" lists already read, by path
	values   map[string]fileValue              // files of ${file:PATH} already read, by path
	files    []File                            // read so far
	geo      []GeoMatch                        // of the rule that is being read
	problems Problems
	dropped  int // problems past maxProblems
	warnings Problems
	unread   unread
}

// unread are the paths of the values that could not be read. Their defaults are not what the user
// meant, so no check may complain about them.
type unread struct {
	exact  map[string]bool
	around map[string]bool // of exact, and of all that holds one of them
}

func (u *unread) add(p *path) {
	u.exact[p.String()] = true
	for ; !u.around[p.String()]; p = p.up {
		u.around[p.String()] = true
		if p == nil || p == simpleRoot {
			break
		}
	}
}

// has reports whether the value at p, one inside of it, or what holds it could not be read.
func (u *unread) has(p *path) bool {
	if len(u.exact) == 0 {
		return false
	}
	if u.around[p.String()] {
		return true
	}
	for ; p != nil; p = p.up {
		if u.exact[p.String()] {
			return true
		}
	}
	return false
}

func (d *decoder) addProblem(p Problem) {
	if len(d.problems) >= maxProblems {
		d.dropped++
		return
	}
	d.problems = append(d.problems, p)
}

func (d *decoder) report(f Fault, n *node) {
	d.addProblem(Problem{n.position(d.file), f})
}

// fault reports that the value n at p cannot be read.
func (d *decoder) fault(n *node, p *path, f *Fault) {
	d.unread.add(p)
	f.Path = p.String()
	d.report(*f, n)
}

func (d *decoder) faultf(n *node, p *path, fix, format string, args ...any) {
	d.fault(n, p, faultf(fix, format, args...))
}

func (d *decoder) expected(n *node, p *path, what, fix string) {
	if n.kind == kindNull && fix == "" {
		fix = "write a value or remove the key"
	}
	d.faultf(n, p, fix, "expected %s, got %s", what, n)
}

// unknownKey reports a key that is not among fs.
func (d *decoder) unknownKey(m *member, p *path, fs fields) {
	if len(d.problems) >= maxProblems {
		d.dropped++ // no suggestion: finding one takes long
		return
	}
	f := faultf("", "unknown key %s", quote(m.key))
	owner, meant := elsewhere(m.key), suggest(m.key, fs.keys())
	if meant != "" && (owner == "" || editDistance(m.key, meant) == 1) { // pool and pools are keys
		f.Fix = "did you mean " + quote(meant) + "?"
		d.unread.add(p.child(meant)) // it is not missing
	} else if owner != "" {
		f.Msg, f.Fix = fmt.Sprintf("%s does not belong here", m.key), "write it in "+owner
	} else if keys := fs.keys(); len(keys) <= 8 {
		f.Fix = "write " + oneOf(keys)
	} else {
		f.Fix = "remove it; docs/configuration.md lists the keys"
	}
	f.Path = p.child(m.key).String()
	d.report(*f, m.keyNode())
}

// scalar returns the text of n with its variables expanded. variable says that there were some.
func (d *decoder) scalar(n *node, p *path) (text string, variable, ok bool) {
	if n.kind != kindString || n.env != "" {
		return n.text, false, true
	}
	text, f := expand(n.text, d.expandVariable)
	if f != nil {
		d.fault(n, p, f)
		return "", false, false
	}
	return text, strings.Contains(n.text, "${"), true
}

// problemf is a problem found while reading, before there is a decoder.
func problemf(file string, line, col int, fix, format string, args ...any) *Problem {
	return &Problem{Position{File: file, Line: line, Col: col}, *faultf(fix, format, args...)}
}

func tooDeep(file string, line, col int) *Problem {
	return problemf(file, line, col, "the configuration needs far fewer", "nested more than %d levels deep", maxDepth)
}
