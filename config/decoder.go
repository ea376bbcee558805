package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// decoder turns the tree into a Config and collects every problem on the way.
// A value with a problem is left at its default; nothing is returned to the
// caller when there was any.
type decoder struct {
	file     string
	env      func(string) (string, bool)
	readList func(name string) ([]byte, error) // reads a "file:" list
	problems Problems
	dropped  int               // problems past maxProblems
	lists    map[string]*list  // "file:" lists already read, by path
	binds    map[string]string // every bound address -> the listener that has it
	bound    int               // binds in the whole file
}

func (d *decoder) add(p Problem) {
	if len(d.problems) >= maxProblems {
		d.dropped++
		return
	}
	d.problems = append(d.problems, p)
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
		if k == nil {
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

// got shows a scalar's value after its variables have been expanded.
func got(n *node, text string) string {
	if n.kind == kindString {
		return quote(text)
	}
	return shorten(text)
}

// enum sets dst to one of the choices of c.
func (d *decoder) enum(n *node, c *choice, dst *string) {
	if n == nil {
		return
	}
	text, ok := d.str(n, oneOf(c.values))
	if !ok {
		return
	}
	if f := c.check(text); f != nil {
		d.fault(n, f)
		return
	}
	*dst = text
}

// integer sets dst to a whole number from low to high; with auto, the word
// "auto" is allowed too and sets 0.
func (d *decoder) integer(n *node, low, high int, auto bool, dst *int) {
	if n == nil {
		return
	}
	what := fmt.Sprintf("a whole number from %d to %d", low, high)
	if auto {
		what = "auto or " + what
	}
	if n.kind != kindNumber && n.kind != kindString {
		d.expected(n, what, "")
		return
	}
	text, variable, ok := d.scalar(n)
	switch {
	case !ok:
		return
	case auto && n.kind == kindString && text == "auto":
		*dst = 0
		return
	case n.kind == kindString && !variable:
		d.expected(n, what, numberFix(n, text))
		return
	}
	v, err := strconv.Atoi(text)
	if err != nil || strconv.Itoa(v) != text || v < low || v > high {
		fix := numberFix(n, text)
		if auto && v == 0 && err == nil {
			fix = `write "auto"`
		}
		d.faultf(n, fix, "expected %s, got %s", what, got(n, text))
		return
	}
	*dst = v
}

// numberFix proposes a plain number for one in quotes, with a unit, or in
// another notation.
func numberFix(n *node, text string) string {
	plain := strings.ReplaceAll(strings.TrimSpace(text), "_", "")
	factor := uint64(1)
	if len(plain) > 1 {
		switch plain[len(plain)-1] {
		case 'k', 'K':
			plain, factor = plain[:len(plain)-1], 1000
		case 'm', 'M':
			plain, factor = plain[:len(plain)-1], 1000_000
		}
	}
	v, err := strconv.ParseUint(plain, 10, 24)
	if err != nil {
		return ""
	}
	number := strconv.FormatUint(v*factor, 10)
	switch {
	case number != text:
		return "write " + number
	case n.kind == kindString:
		return "write " + number + ", without quotes"
	}
	return ""
}

// boolean sets dst to true or false.
func (d *decoder) boolean(n *node, dst *bool) {
	if n == nil {
		return
	}
	text, variable, ok := d.scalar(n)
	if !ok {
		return
	}
	if n.kind == kindBool || variable {
		switch text {
		case "true", "false":
			*dst = text == "true"
			return
		}
	}
	fix := ""
	if n.kind == kindString {
		switch strings.ToLower(text) {
		case "yes", "on", "true":
			fix = "write true, without quotes"
		case "no", "off", "false":
			fix = "write false, without quotes"
		}
	}
	if variable {
		d.faultf(n, "", "expected true or false, got %s", got(n, text))
		return
	}
	d.expected(n, "true or false", fix)
}

// duration sets dst to a time such as "30s"; zero tells whether 0 is allowed.
func (d *decoder) duration(n *node, zero bool, dst *time.Duration) {
	if n == nil {
		return
	}
	const what = `a duration such as "30s"`
	if n.kind != kindNumber && n.kind != kindString {
		d.expected(n, what, "")
		return
	}
	text, _, ok := d.scalar(n)
	if !ok {
		return
	}
	v, err := time.ParseDuration(text)
	switch {
	case err != nil:
		d.faultf(n, durationFix(text), "expected %s, got %s", what, got(n, text))
	case v < 0:
		d.faultf(n, "write a positive one", "a duration cannot be negative: %s", shorten(text))
	case v == 0 && !zero:
		d.faultf(n, `write one such as "3s"`, "this duration cannot be 0")
	case v > maxDuration:
		d.faultf(n, `write "0s" for no limit where 0 is allowed, or at most "876000h"`, "longer than 100 years: %s", shorten(text))
	case v > 0 && v < time.Millisecond:
		d.faultf(n, `write "1ms" or more`, "shorter than 1ms: %s", shorten(text))
	default:
		*dst = v
	}
}

// durationFix proposes what was meant by a duration without a unit, with a
// space, or in days.
func durationFix(text string) string {
	compact := strings.ToLower(strings.ReplaceAll(text, " ", ""))
	if _, err := time.ParseDuration(compact); err == nil {
		return "write " + quote(compact)
	}
	if v, err := strconv.ParseUint(compact, 10, 31); err == nil {
		return fmt.Sprintf("write %q for seconds", strconv.FormatUint(v, 10)+"s")
	}
	if day, ok := strings.CutSuffix(compact, "d"); ok {
		if v, err := strconv.ParseUint(day, 10, 16); err == nil {
			return fmt.Sprintf("write %q", strconv.FormatUint(v*24, 10)+"h")
		}
	}
	return "write a number with ms, s, m or h"
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
