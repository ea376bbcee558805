package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxJSONValues bounds the memory of the tree, some 150 bytes for each value.
const maxJSONValues = 2_000_000

// readJSON builds the tree of one JSON text.
func readJSON(file string, data []byte) (*node, *Problem) {
	// A check of the whole text first: its errors carry an offset, and the
	// token stream below, which is more lenient, then cannot fail.
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, jsonProblem(file, data, err)
	}
	r := &jsonReader{file: file, data: data, dec: json.NewDecoder(bytes.NewReader(data)), pos: newTextPosition(data)}
	r.dec.UseNumber()
	return r.value(0)
}

// jsonReader walks the token stream and finds where each token begins.
type jsonReader struct {
	file string
	data []byte
	dec  *json.Decoder
	pos  *textPosition
	made int // values
}

// next returns the next token and where it begins.
func (r *jsonReader) next() (tok json.Token, line, col int, p *Problem) {
	start := int(r.dec.InputOffset())
	for start < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[start]) >= 0 {
		start++
	}
	line, col = r.pos.at(start)
	tok, err := r.dec.Token()
	if err != nil {
		return nil, line, col, errorAt(r.file, line, col, "cannot be read as JSON: %v", "", err)
	}
	return tok, line, col, nil
}

func (r *jsonReader) value(depth int) (*node, *Problem) {
	tok, line, col, p := r.next()
	if p != nil {
		return nil, p
	}
	return r.valueFrom(tok, line, col, depth)
}

func (r *jsonReader) valueFrom(tok json.Token, line, col, depth int) (*node, *Problem) {
	if depth > maxDepth {
		return nil, tooDeep(r.file, line, col)
	}
	if r.made++; r.made > maxJSONValues {
		return nil, errorAt(r.file, line, col, "more than %d values", `move long address lists to files ("file:trusted.txt")`, maxJSONValues)
	}
	n := &node{line: line, col: col}
	switch v := tok.(type) {
	case nil:
		n.kind = kindNull
	case bool:
		n.kind, n.text = kindBool, fmt.Sprint(v)
	case json.Number:
		n.kind, n.text = kindNumber, v.String()
	case string:
		n.kind, n.text = kindString, v
	case json.Delim:
		if v == '{' {
			n.kind = kindMap
			return n, r.members(n, depth)
		}
		n.kind = kindList
		return n, r.items(n, depth)
	}
	return n, nil
}

func (r *jsonReader) members(n *node, depth int) *Problem {
	for {
		tok, line, col, p := r.next()
		if p != nil {
			return p
		}
		key, ok := tok.(string)
		if !ok { // the closing brace
			return nil
		}
		value, p := r.value(depth + 1)
		if p != nil {
			return p
		}
		n.members = append(n.members, &member{key: key, line: line, col: col, value: value})
	}
}

func (r *jsonReader) items(n *node, depth int) *Problem {
	for {
		tok, line, col, p := r.next()
		if p != nil {
			return p
		}
		if tok == json.Delim(']') {
			return nil
		}
		item, p := r.valueFrom(tok, line, col, depth+1)
		if p != nil {
			return p
		}
		n.items = append(n.items, item)
	}
}

func tooDeep(file string, line, col int) *Problem {
	return errorAt(file, line, col, "nested more than %d levels deep", "the configuration needs far fewer", maxDepth)
}

// jsonProblem says in our words what encoding/json found. The wording of the
// standard library tells which state its scanner was in.
func jsonProblem(file string, data []byte, err error) *Problem {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return errorAt(file, 1, 1, "cannot be read as JSON: %v", "", err)
	}
	state := syntax.Error()
	offset := max(0, int(syntax.Offset)-1)
	if strings.HasPrefix(state, "unexpected end") {
		offset = len(bytes.TrimRight(data, " \t\r\n"))
	}
	before := bytes.TrimRight(data[:offset], " \t\r\n")
	var found byte
	if offset < len(data) {
		found = data[offset]
	}

	var msg, fix string
	switch {
	case strings.HasPrefix(state, "unexpected end"):
		msg, fix = "the file ends too early", "complete it; is it cut short?"
	case strings.HasSuffix(state, "exceeded max depth"):
		line, col := newTextPosition(data).at(jsonLevel(data, maxDepth+1))
		return tooDeep(file, line, col)
	case strings.HasSuffix(state, "in string literal"):
		msg, fix = "a line break or control character inside a string", `close the string with ", or write \n, \t or \u00XX`
	case strings.Contains(state, "in string escape") || strings.Contains(state, `in \u`):
		msg, fix = `not an escape of JSON strings`, `write \\ for a backslash`
	case (found == '}' || found == ']') && bytes.HasSuffix(before, []byte(",")):
		offset = len(before) - 1
		msg, fix = "JSON has no comma after the last entry", "remove it"
	case found == '/' || found == '#':
		msg, fix = "JSON has no comments", "remove it, or write the file as YAML"
	case found == '\'':
		msg, fix = "JSON has no single quotes", `write "..."`
	case strings.HasSuffix(state, "after top-level value"):
		msg, fix = fmt.Sprintf("unexpected %s after the end of the configuration", quoteByte(found)), "remove it"
	case strings.HasSuffix(state, "beginning of object key string"):
		msg, fix = fmt.Sprintf("expected a key, got %s", quoteByte(found)), `write keys in double quotes`
	case strings.HasSuffix(state, "after object key"):
		msg, fix = fmt.Sprintf("expected a colon after the key, got %s", quoteByte(found)), `write "key": value`
	case strings.HasSuffix(state, "after object key:value pair"):
		msg, fix = fmt.Sprintf("expected a comma or }, got %s", quoteByte(found)), "is a comma missing before it?"
	case strings.HasSuffix(state, "after array element"):
		msg, fix = fmt.Sprintf("expected a comma or ], got %s", quoteByte(found)), "is a comma missing before it?"
	default:
		msg, fix = fmt.Sprintf("expected a value, got %s", quoteByte(found)), "write strings in double quotes"
	}
	line, col := newTextPosition(data).at(offset)
	return &Problem{File: file, Line: line, Col: col, Msg: msg, Fix: fix}
}

// jsonLevel returns the offset of the first bracket that is nested deeper than
// depth.
func jsonLevel(data []byte, depth int) int {
	open, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			if open++; open > depth {
				return i
			}
		case c == ']' || c == '}':
			open--
		}
	}
	return len(data)
}

func quoteByte(c byte) string {
	return fmt.Sprintf("%q", rune(c))
}
