package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const yamlFix = "check the indentation (spaces only), the quotes and the brackets, and put values with : [ ] { } @ or ${ in quotes"

// readYAML builds the tree of one YAML document. Anchors, aliases, merge keys, tags and complex
// keys are refused, so that a file means what it shows and cannot expand beyond its size.
func readYAML(file string, data []byte) (*node, *Problem) {
	return guarded(file, func() (*node, *Problem) { return parseYAML(file, data) })
}

// guarded makes a panic of the library, which has panicked on malformed input before, a problem of
// the file.
func guarded(file string, read func() (*node, *Problem)) (n *node, p *Problem) {
	defer func() {
		if r := recover(); r != nil {
			n, p = nil, problemf(file, 1, 1, yamlFix, "not valid YAML, %s", printable(fmt.Sprint(r)))
		}
	}()
	return read()
}

func parseYAML(file string, data []byte) (n *node, p *Problem) {
	tokens := lexer.Tokenize(string(data))
	if p := checkTokens(file, tokens); p != nil {
		return nil, p
	}
	doc, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, yamlProblem(file, err)
	}
	r := yamlReader{file: file}
	for _, d := range doc.Docs {
		if d.Body == nil {
			continue
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

// checkTokens refuses what the parser would take, but must not:
//   - Nesting so deep that the parser, which recurses, could exhaust the stack: brackets inside of
//     brackets, or "- - - -" on one line. Indentation cannot: it needs a line for each level.
//   - A "-" inside of brackets, as in {bind: - ":80"}. YAML has no such lists.
//   - A second document. The parser drops what follows an empty one without a word.
func checkTokens(file string, tokens token.Tokens) *Problem {
	open, dashes, line := 0, 0, 0
	begun, ended := false, false // the document
	for _, t := range tokens {
		switch t.Type {
		case token.CommentType:
		case token.DirectiveType:
			return unsupportedYAML(file, t.Position.Line, t.Position.Column, ast.DirectiveType)
		case token.DocumentEndType:
			ended = begun
		default:
			if ended || begun && t.Type == token.DocumentHeaderType {
				return problemf(file, t.Position.Line, t.Position.Column, "keep one", "more than one document in a file")
			}
			begun = true
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open++
		case token.SequenceEndType, token.MappingEndType:
			open--
		case token.SequenceEntryType, token.MappingKeyType:
			if open > 0 && t.Type == token.SequenceEntryType {
				return problemf(file, t.Position.Line, t.Position.Column, `write the values with commas, without "-"`,
					`"-" begins no value inside of [ ] and { }`)
			}
			if t.Position.Line != line {
				dashes, line = 0, t.Position.Line
			}
			dashes++
		}
		if open > maxDepth || dashes > maxDepth {
			return tooDeep(file, t.Position.Line, t.Position.Column)
		}
	}
	return nil
}

func unsupportedYAML(file string, line, col int, kind ast.NodeType) *Problem {
	return problemf(file, line, col, "write a plain value, in quotes if it begins with & * ! or %", "YAML of the kind %s is not supported", kind)
}

// yamlProblem turns an error of the library into a problem with a position.
func yamlProblem(file string, err error) *Problem {
	var e yaml.Error
	if !errors.As(err, &e) || e.GetToken() == nil || e.GetToken().Position == nil {
		return problemf(file, 1, 1, yamlFix, "not valid YAML, %s", printable(err.Error()))
	}
	at := e.GetToken().Position
	return problemf(file, at.Line, at.Column, yamlFix, "not valid YAML, %s", printable(e.GetMessage()))
}

// printable is a message of the library on one line: it may quote a tab.
func printable(msg string) string {
	quoted := strconv.Quote(shorten(msg))
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
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
		return n, r.members(n, v.Values, depth)
	case *ast.MappingValueNode:
		return n, r.members(n, []*ast.MappingValueNode{v}, depth)
	default:
		return nil, unsupportedYAML(r.file, line, col, v.Type())
	}
	return n, nil
}

func (r *yamlReader) members(n *node, values []*ast.MappingValueNode, depth int) *Problem {
	n.kind = kindMap
	for _, mv := range values {
		line, col := yamlPosition(mv.Key)
		var key string
		switch k := mv.Key.(type) {
		case *ast.StringNode:
			key = k.Value
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
			key = k.GetToken().Value // a name such as 5432 is a key as it is written
		default:
			return problemf(r.file, line, col, "write a plain word as the key", "YAML keys of the kind %s are not supported", k.Type())
		}
		value, p := r.node(mv.Value, depth+1)
		if p != nil {
			return p
		}
		if null, ok := mv.Value.(*ast.NullNode); ok && null.Token.Type == token.ImplicitNullType {
			value.line, value.col = line, col // the value is not there to point at
		}
		n.members = append(n.members, &member{key: key, line: line, col: col, value: value})
	}
	return nil
}

// plainWithColon returns the text of a plain value such as 10.0.0.5:5432, which the library takes
// for a key and its value in a [ ] inside of a { }. In a plain value a colon is one like any other
// unless a space follows it (YAML 1.2.2, 7.3.3).
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

// yamlPosition returns where a node begins. The token of a block collection is its first delimiter,
// so the first key or entry is asked instead.
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
