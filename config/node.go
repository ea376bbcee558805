package config

import (
	"bytes"
	"fmt"
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

// node is one value of a configuration file with its position. Both readers
// build this tree; everything after them is the same for JSON and YAML.
type node struct {
	kind    kind
	line    int
	col     int
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

// quote puts s in quotes for a message: one line, printable, not too long.
func quote(s string) string {
	return strconv.Quote(shorten(s))
}

func shorten(s string) string {
	const limit = 80 // characters
	if len(s) <= limit {
		return s
	}
	count := 0
	for i := range s {
		if count == limit {
			return s[:i] + "..."
		}
		count++
	}
	return s
}

// textPosition turns rising byte offsets into lines and columns. Lines end
// with LF, CRLF or CR; columns count characters.
type textPosition struct {
	data   []byte
	offset int
	line   int
	col    int
}

func newTextPosition(data []byte) *textPosition {
	return &textPosition{data: data, line: 1, col: 1}
}

// at returns the position of offset, which must not be before the last one.
func (t *textPosition) at(offset int) (line, col int) {
	offset = min(offset, len(t.data))
	for t.offset < offset {
		c := t.data[t.offset]
		size := 1
		switch {
		case c == '\n', c == '\r' && !bytes.HasPrefix(t.data[t.offset+1:], []byte("\n")):
			t.line++
			t.col = 1
		case c == '\r':
			// The LF that follows ends the line.
		case c < utf8.RuneSelf:
			t.col++
		default:
			_, size = utf8.DecodeRune(t.data[t.offset:])
			t.col++
		}
		t.offset += size
	}
	return t.line, t.col
}

// clamp moves problems that lie outside of data to its nearest place. The
// YAML library gives values that were left out a position after the end of
// their line.
func clamp(ps Problems, file string, data []byte) {
	var width []int // of each line, in characters
	for i := range ps {
		if ps[i].File != file || ps[i].Line == 0 {
			continue
		}
		if width == nil {
			width = lineWidths(data)
		}
		ps[i].Line = min(ps[i].Line, len(width))
		ps[i].Col = max(1, min(ps[i].Col, width[ps[i].Line-1]+1))
	}
}

func lineWidths(data []byte) []int {
	var widths []int
	t := newTextPosition(data)
	line, col := 1, 1
	for t.offset < len(data) {
		nextLine, nextCol := t.at(t.offset + 1)
		if nextLine != line {
			widths = append(widths, col-1)
		}
		line, col = nextLine, nextCol
	}
	return append(widths, col-1)
}

// errorAt is a problem found while reading, before there is a decoder.
func errorAt(file string, line, col int, msg, fix string, args ...any) *Problem {
	return &Problem{File: file, Line: line, Col: col, Msg: fmt.Sprintf(msg, args...), Fix: fix}
}
