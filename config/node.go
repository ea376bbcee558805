package config

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// kind is the type of a node, the same for JSON and YAML.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindList
	kindMap
)

// node is one value of a configuration file with its position. Both readers build this tree;
// everything after them is the same for JSON and YAML.
type node struct {
	kind    kind
	line    int
	col     int
	env     string    // the environment variable that it comes from, if any
	text    string    // of a bool, number (as written) or string
	items   []*node   // of a list
	members []*member // of a mapping, repeated keys included, in file order
}

// member is one key of a mapping with its value.
type member struct {
	key   string
	line  int
	col   int
	value *node
}

// member returns a key of a mapping; nil if it is not there, or n is none.
func (n *node) member(key string) *member {
	for _, m := range n.members {
		if m.key == key {
			return m
		}
	}
	return nil
}

// keyNode stands for a member's key where a problem is with the key.
func (m *member) keyNode() *node {
	return &node{line: m.line, col: m.col}
}

func (n *node) position(file string) Position {
	if n.env != "" {
		return Position{Env: n.env}
	}
	return Position{File: file, Line: n.line, Col: n.col}
}

// String describes the node for "expected ..., got ...".
func (n *node) String() string {
	switch n.kind {
	case kindNull:
		return "nothing (null)"
	case kindBool:
		return n.text
	case kindNumber:
		return "the number " + shorten(n.text)
	case kindString:
		return "the string " + quote(n.text)
	case kindList:
		return "a list"
	default:
		return "a mapping"
	}
}

// got shows a scalar's value after its variables have been expanded.
func (n *node) got(text string) string {
	if n.kind == kindString {
		return quote(text)
	}
	return shorten(text)
}

// quote puts s in quotes for a message: one line, printable, not too long.
func quote(s string) string {
	return strconv.Quote(shorten(s))
}

func shorten(s string) string {
	const limit = 80 // characters
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit]) + "..."
}

// textPosition turns rising byte offsets into lines and columns. Columns count characters.
type textPosition struct {
	data      []byte
	offset    int
	line, col int
}

func newTextPosition(data []byte) *textPosition {
	return &textPosition{data: data, line: 1, col: 1}
}

// at returns the position of offset, which must not be before the last one.
func (t *textPosition) at(offset int) (line, col int) {
	offset = min(offset, len(t.data))
	passed := t.data[t.offset:offset]
	t.offset = offset
	if last := bytes.LastIndexByte(passed, '\n'); last >= 0 {
		t.line += bytes.Count(passed, []byte("\n"))
		t.col = 1
		passed = passed[last+1:]
	}
	t.col += utf8.RuneCount(passed)
	return t.line, t.col
}
