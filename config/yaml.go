package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// readYAML builds the tree of one YAML document. Anchors, aliases, merge keys,
// tags and complex keys are refused, so that a file says what it says and can
// not unfold into more than its size.
func readYAML(file string, data []byte) (n *node, p *Problem) {
	if len(data) > maxYAMLSize {
		return nil, &Problem{File: file, Msg: fmt.Sprintf("larger than %d MiB, the limit for YAML", maxYAMLSize>>20),
			Fix: `write it as JSON, or move long address lists to files ("file:trusted.txt")`}
	}
	if at := yamlTooMany(data); at >= 0 {
		line, col := newTextPosition(data).at(at)
		return nil, errorAt(file, line, col, "more than %d values and comment lines in one YAML file",
			`write it as JSON, or move long address lists to files ("file:trusted.txt")`, maxYAMLValues)
	}
	text := strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\r", "\n")
	if p := yamlLines(file, text); p != nil {
		return nil, p
	}
	return parseYAML(file, text, yamlTokens)
}

// parseYAML builds the tree of a text that tokenize splits.
func parseYAML(file, text string, tokenize func(string) token.Tokens) (n *node, p *Problem) {
	// The library has panicked on malformed input before; that must become a
	// problem of the file, not a crash of the proxy.
	var last *token.Token
	defer func() {
		if r := recover(); r != nil {
			line, col := 1, 1
			if last != nil {
				line, col = last.Position.Line, last.Position.Column
			}
			n, p = nil, errorAt(file, line, col, "cannot be read as YAML: %s", "check its indentation and brackets", yamlPanic(r))
		}
	}()
	tokens := tokenize(text)
	scan := yamlScan{file: file}
	for _, t := range tokens {
		if p := scan.token(t); p != nil {
			return nil, p
		}
		last = t
	}
	last = nil
	doc, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, yamlProblem(file, err)
	}
	r := yamlReader{file: file}
	for _, d := range doc.Docs {
		if d.Body == nil {
			continue
		}
		if n != nil {
			line, col := yamlPosition(d.Body)
			return nil, errorAt(file, line, col, "a second document", "keep one document in a file")
		}
		if n, p = r.node(d.Body, 0); p != nil {
			return nil, p
		}
	}
	if n == nil {
		n = &node{kind: kindNull, line: 1, col: 1}
	}
	return n, nil
}

// yamlPanic makes the library's panic value printable.
func yamlPanic(r any) string {
	quoted := strconv.Quote(shorten(fmt.Sprint(r)))
	return quoted[1 : len(quoted)-1]
}

// yamlProblem turns an error of the library into a problem with a position.
func yamlProblem(file string, err error) *Problem {
	var e yaml.Error
	if !errors.As(err, &e) || e.GetToken() == nil || e.GetToken().Position == nil {
		return errorAt(file, 1, 1, "not valid YAML", "check its indentation and brackets")
	}
	t := e.GetToken()
	return errorAt(file, t.Position.Line, t.Position.Column, "%s", yamlHint(t, e.GetMessage()), yamlMessage(e.GetMessage()))
}

// yamlMessage makes the library's message printable: it may quote a tab.
func yamlMessage(msg string) string {
	quoted := strconv.Quote(shorten(msg))
	return "not valid YAML, " + strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// yamlHint says what to write for the mistakes that our values invite.
func yamlHint(t *token.Token, msg string) string {
	prev := ""
	if t.Prev != nil {
		prev = t.Prev.Value
	}
	switch {
	case t.Type == token.MappingStartType && strings.HasSuffix(prev, "$"):
		return `inside [ ] and { } put ${...} in quotes`
	case strings.HasPrefix(t.Value, ":") && prev == "]":
		return `put an address with [ ] in quotes, as in "[::]:80"`
	case strings.Contains(msg, "'\t'"):
		return "indent with spaces"
	case strings.Contains(msg, "reserved character"):
		return "put the value in quotes"
	case strings.Contains(msg, "end character"):
		return "close the quotes"
	case strings.Contains(msg, "invalid key"):
		return "put IPv6 addresses and other values with colons in quotes"
	case strings.Contains(msg, "mapping value is not allowed"):
		return "check the indentation, and put values with colons in quotes"
	}
	return "check the indentation, quotes and brackets around it"
}

// yamlReader turns the library's tree into ours.
type yamlReader struct {
	file string
}

func (r *yamlReader) node(v ast.Node, depth int) (*node, *Problem) {
	line, col := yamlPosition(v)
	if depth > maxDepth {
		return nil, tooDeep(r.file, line, col)
	}
	n := &node{line: line, col: col}
	switch v := v.(type) {
	case *ast.NullNode:
		n.kind = kindNull
	case *ast.BoolNode:
		n.kind, n.text = kindBool, fmt.Sprint(v.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		n.kind, n.text = kindNumber, v.GetToken().Value
	case *ast.StringNode:
		n.kind, n.text = kindString, v.Value
	case *ast.LiteralNode:
		n.kind, n.text = kindString, v.Value.Value
	case *ast.SequenceNode:
		n.kind = kindList
		for _, item := range v.Values {
			child, p := r.node(item, depth+1)
			if p != nil {
				return nil, p
			}
			n.items = append(n.items, child)
		}
	case *ast.MappingNode:
		if text, ok := plainWithColon(v); ok {
			n.kind, n.text = kindString, text
			break
		}
		n.kind = kindMap
		for _, mv := range v.Values {
			if p := r.member(n, mv, depth); p != nil {
				return nil, p
			}
		}
	case *ast.MappingValueNode:
		n.kind = kindMap
		if p := r.member(n, v, depth); p != nil {
			return nil, p
		}
	default:
		return nil, errorAt(r.file, line, col, "YAML of this kind (%s) is not supported", "write a plain value", v.Type())
	}
	return n, nil
}

// plainWithColon returns the text of a plain value such as 10.0.0.5:5432, which the library takes for a key and its
// value in a [ ] inside of a { }. In a plain value a colon is one like any other unless a space follows it (YAML 1.2.2,
// 7.3.3).
func plainWithColon(m *ast.MappingNode) (text string, ok bool) {
	if m.IsFlowStyle || len(m.Values) != 1 {
		return "", false
	}
	key, value := m.Values[0].Key.GetToken(), m.Values[0].Value.GetToken()
	colon := m.Values[0].Start
	if !isPlain(key) || !isPlain(value) || colon == nil || value.Position.Line != colon.Position.Line ||
		value.Position.Column != colon.Position.Column+1 {
		return "", false
	}
	return key.Value + ":" + value.Value, true
}

// isPlain reports whether a token is a value as it is written, neither left out nor in quotes.
func isPlain(t *token.Token) bool {
	return t != nil && t.Position != nil && t.Type != token.ImplicitNullType &&
		(t.Type == token.StringType || t.CharacterType == token.CharacterTypeMiscellaneous)
}

func (r *yamlReader) member(n *node, mv *ast.MappingValueNode, depth int) *Problem {
	line, col := yamlPosition(mv.Key)
	var key string
	switch k := mv.Key.(type) {
	case *ast.StringNode:
		key = k.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		// A name such as 5432 is a key as it is written.
		key = k.GetToken().Value
	default:
		return errorAt(r.file, line, col, "YAML keys of this kind (%s) are not supported", "write a plain word as the key", k.Type())
	}
	value, p := r.node(mv.Value, depth+1)
	if p != nil {
		return p
	}
	if null, ok := mv.Value.(*ast.NullNode); ok && null.Token.Type == token.ImplicitNullType {
		value.line, value.col = line, col // the value is not there to point at
	}
	n.members = append(n.members, &member{key: key, line: line, col: col, value: value})
	return nil
}

// yamlPosition returns where a node begins. The token of a block collection is
// its first delimiter, so the first key or entry is asked instead.
func yamlPosition(v ast.Node) (line, col int) {
	switch v := v.(type) {
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return yamlPosition(v.Values[0])
		}
	case *ast.MappingValueNode:
		return yamlPosition(v.Key)
	case *ast.LiteralNode:
		return v.Start.Position.Line, v.Start.Position.Column
	}
	t := v.GetToken()
	if t == nil || t.Position == nil {
		return 1, 1
	}
	return t.Position.Line, t.Position.Column
}
