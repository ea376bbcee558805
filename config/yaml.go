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

const (
	// maxYAMLSize bounds the memory of the token list, which costs up to some
	// 250 bytes for each byte of text.
	maxYAMLSize = 8 << 20
	// maxYAMLKeys bounds the keys of one mapping: the library reads a mapping
	// recursively, in time that grows with the square of its keys.
	maxYAMLKeys = 20_000
	// maxYAMLOmitted bounds the values left out ("key:", "-"), none of which is
	// valid here: the library inserts a token for each into a list of all.
	maxYAMLOmitted = 1000
)

// readYAML builds the tree of one YAML document. Anchors, aliases, merge keys,
// tags and complex keys are refused, so that a file says what it says and can
// not unfold into more than its size.
func readYAML(file string, data []byte) (n *node, p *Problem) {
	if len(data) > maxYAMLSize {
		return nil, &Problem{File: file, Msg: fmt.Sprintf("larger than %d MiB, the limit for YAML", maxYAMLSize>>20),
			Fix: `write it as JSON, or move long address lists to files ("file:trusted.txt")`}
	}
	tokens := lexer.Tokenize(string(data))
	scan := yamlScan{file: file}
	for _, t := range tokens {
		if p := scan.token(t); p != nil {
			return nil, p
		}
	}
	// The library has panicked on malformed input before; that must become a
	// problem of the file, not a crash of the proxy.
	defer func() {
		if r := recover(); r != nil {
			n, p = nil, errorAt(file, 1, 1, "cannot be read as YAML: %v", "check its indentation and brackets", r)
		}
	}()
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

// yamlScan looks through the tokens before the parser sees them: it refuses
// what is not supported and bounds what the parser's recursion and its
// mappings may cost.
type yamlScan struct {
	file    string
	content bool // a token that is not part of a document's header came
	flow    int  // open [ and {
	omitted int  // values left out in block style
	// blocks holds the columns of the open block collections, outermost
	// first, with the number of keys at that column.
	blocks []yamlBlock
}

type yamlBlock struct{ col, keys int }

func (s *yamlScan) token(t *token.Token) *Problem {
	line, col := t.Position.Line, t.Position.Column
	refuse := func(msg, fix string) *Problem { return errorAt(s.file, line, col, "%s", fix, msg) }
	switch t.Type {
	case token.InvalidType:
		return refuse(yamlMessage(t.Error), yamlHint(t, t.Error))
	case token.AnchorType, token.AliasType:
		return refuse("YAML anchors and aliases are not supported", "write the value out, or put strings that start with & or * in quotes")
	case token.MergeKeyType:
		return refuse("YAML merge keys (<<) are not supported", "write the keys out")
	case token.TagType:
		return refuse("YAML tags are not supported", "remove it, or put strings that start with ! in quotes")
	case token.DirectiveType:
		return refuse("YAML directives are not supported", "remove it, or put strings that start with % in quotes")
	case token.MappingKeyType:
		return refuse("YAML complex keys (?) are not supported", "write key: value")
	case token.DocumentHeaderType:
		if s.content {
			return refuse("a second document", "keep one document in a file")
		}
		s.content = true
		return nil
	case token.CommentType:
		return nil
	case token.SequenceStartType, token.MappingStartType:
		s.flow++
	case token.SequenceEndType, token.MappingEndType:
		s.flow = max(0, s.flow-1)
	case token.SequenceEntryType:
		s.block(col, false)
		s.value(t, col, col)
	case token.MappingValueType:
		if t.Prev != nil {
			col = t.Prev.Position.Column
		}
		if s.block(col, s.flow == 0) > maxYAMLKeys {
			return refuse(fmt.Sprintf("more than %d keys in one YAML mapping", maxYAMLKeys), "write the file as JSON")
		}
		s.value(t, col, col-1) // a list may stand at the column of its key
	}
	if s.omitted > maxYAMLOmitted {
		return refuse(fmt.Sprintf("more than %d values left out", maxYAMLOmitted), "write the values")
	}
	s.content = true
	if len(s.blocks)+s.flow > maxDepth {
		return tooDeep(s.file, line, col)
	}
	return nil
}

// block notes a key or an entry at a column and returns the number of keys
// that its mapping has.
func (s *yamlScan) block(col int, key bool) int {
	if s.flow > 0 {
		return 0
	}
	for len(s.blocks) > 0 && s.blocks[len(s.blocks)-1].col > col {
		s.blocks = s.blocks[:len(s.blocks)-1]
	}
	if len(s.blocks) == 0 || s.blocks[len(s.blocks)-1].col < col {
		s.blocks = append(s.blocks, yamlBlock{col: col})
	}
	top := &s.blocks[len(s.blocks)-1]
	if key {
		top.keys++
	}
	return top.keys
}

// value counts t, a "-" or ":" of block style at column col, when no value
// follows it: the next token is on a later line and not beyond column limit.
func (s *yamlScan) value(t *token.Token, col, limit int) {
	next := t.Next
	for next != nil && next.Type == token.CommentType {
		next = next.Next
	}
	if s.flow > 0 || next != nil && next.Position.Line == t.Position.Line {
		return
	}
	if next == nil || next.Position.Column <= limit || next.Position.Column == col && next.Type != token.SequenceEntryType {
		s.omitted++
	}
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
