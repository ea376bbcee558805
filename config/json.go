package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// readJSON builds the tree of one JSON text. A YAML reader would not do, although JSON is nearly a
// subset of YAML: JSON may be indented with tabs.
func readJSON(file string, data []byte) (*node, *Problem) {
	// A check of the whole text first: its errors carry an offset, and the token stream below,
	// which is more lenient, then cannot fail.
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, jsonProblem(file, data, err)
	}
	r := &jsonReader{file: file, data: data, dec: json.NewDecoder(bytes.NewReader(data)), pos: newTextPosition(data)}
	r.dec.UseNumber()
	return r.value(0)
}

// jsonProblem gives an error of encoding/json its position.
func jsonProblem(file string, data []byte, err error) *Problem {
	line, col := 1, 1
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset := max(0, int(syntax.Offset)-1)
		if offset == len(data)-1 && strings.HasPrefix(err.Error(), "unexpected end") {
			offset = len(bytes.TrimRight(data, " \t\r\n"))
		}
		line, col = newTextPosition(data).at(offset)
	}
	return problemf(file, line, col, "check the commas, quotes and brackets before it", "not valid JSON, %s", err)
}

// jsonReader walks the token stream and finds where each token begins.
type jsonReader struct {
	file string
	data []byte
	dec  *json.Decoder
	pos  *textPosition
}

// next returns the next token, and a node at its position.
func (r *jsonReader) next() (json.Token, *node, *Problem) {
	start := int(r.dec.InputOffset())
	for start < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[start]) >= 0 {
		start++
	}
	n := new(node)
	n.line, n.col = r.pos.at(start)
	tok, err := r.dec.Token()
	if err != nil {
		return nil, nil, problemf(r.file, n.line, n.col, "", "not valid JSON, %v", err)
	}
	return tok, n, nil
}

func (r *jsonReader) value(depth int) (*node, *Problem) {
	tok, n, p := r.next()
	if p != nil {
		return nil, p
	}
	return n, r.fill(n, tok, depth)
}

// fill makes n the value that begins with a token.
func (r *jsonReader) fill(n *node, tok json.Token, depth int) *Problem {
	if depth > maxDepth {
		return tooDeep(r.file, n.line, n.col)
	}
	switch v := tok.(type) {
	case bool:
		n.kind, n.text = kindBool, fmt.Sprint(v)
	case json.Number:
		n.kind, n.text = kindNumber, v.String()
	case string:
		n.kind, n.text = kindString, v
	case json.Delim:
		n.kind = kindList
		if v == '{' {
			n.kind = kindMap
		}
		return r.inside(n, depth)
	}
	return nil
}

// inside reads a list or a mapping to its end.
func (r *jsonReader) inside(n *node, depth int) *Problem {
	for {
		tok, inner, p := r.next()
		if p != nil {
			return p
		}
		if tok == json.Delim(']') || tok == json.Delim('}') {
			return nil
		}
		if n.kind == kindList {
			n.items = append(n.items, inner)
			if p := r.fill(inner, tok, depth+1); p != nil {
				return p
			}
			continue
		}
		value, p := r.value(depth + 1)
		if p != nil {
			return p
		}
		key, _ := tok.(string)
		n.members = append(n.members, &member{key: key, line: inner.line, col: inner.col, value: value})
	}
}
