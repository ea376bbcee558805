package config

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/scanner"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxYAMLSize bounds the memory for the text itself: the library keeps several
	// copies, some with four bytes for each character.
	maxYAMLSize = 8 << 20
	// maxYAMLValues bounds the memory that the library takes: some 600 bytes for
	// each value.
	maxYAMLValues = 250_000
	// maxYAMLKeys bounds the keys of one mapping, and its square bounds the cost
	// of all mappings together: the library reads a mapping recursively, in time
	// that grows with the square of its keys.
	maxYAMLKeys = 20_000
	// maxYAMLSteps bounds the time that long and blank lines take.
	maxYAMLSteps = 200_000_000
	// maxYAMLOmitted bounds the missing values ("key:", "-"), none of which is
	// valid here: for each, the library inserts a token into the list of all.
	maxYAMLOmitted = 1000
)

// yamlTooMany returns the offset of the first value past the limit, or -1. The
// library makes all tokens of a text at once, so the count has to come first. It
// counts every byte that may end a token: separators, also those in comments and
// quotes, lines without any, the words of a directive, and, on their own, pairs
// of quotes, most of which stand beside a separator.
func yamlTooMany(data []byte) int {
	const start, inText, separated, inDirective = 0, 1, 2, 3
	values, quotes, state := 0, 0, start
	for i, c := range data {
		switch {
		case c == '\n' || c == '\r':
			state = start
		case c == '"' || c == '\'':
			quotes++
		case c == '%':
			values++
			state = inDirective
		case c == ' ' && state == inDirective, yamlSeparates(data, i):
			if state != inText { // the line counts already
				values++
			}
			state = max(state, separated)
		}
		if state == start && c > ' ' {
			values++
			state = inText
		}
		if values > maxYAMLValues || quotes > 2*maxYAMLValues {
			return i
		}
	}
	return -1
}

// yamlSeparates reports whether the byte at i may stand between two values.
func yamlSeparates(data []byte, i int) bool {
	c := data[i]
	switch c {
	case ',', '[', ']', '{', '}', '#':
		return true
	case '-', ':', '?', '!', '&', '*':
		// Separators if alone or at the beginning of a word; inside a word,
		// they are ordinary characters.
		ends := i+1 == len(data) || bytes.IndexByte([]byte(" \t\r\n,[]{}"), data[i+1]) >= 0
		begins := c != ':' && (i == 0 || data[i-1] <= ' ' || data[i-1] == '&' || data[i-1] == '*')
		return ends || begins
	}
	return false
}

// yamlTokens splits a text as the library does, up to the first fault: after
// one, the library begins again, and makes a token for each byte of a text such
// as "@@@@".
func yamlTokens(text string) (tokens token.Tokens) {
	var s scanner.Scanner
	s.Init(text)
	for {
		some, err := s.Scan()
		tokens.Add(some...)
		if err != nil { // the end, or a fault, which is the last token
			return tokens
		}
	}
}

// yamlLines refuses lines that would take the library long. For each tab and
// each "<" it scans the rest of the line, and for each blank line at the end of
// a text, all blank lines before it.
func yamlLines(file string, text string) *Problem {
	steps, blank := 0, 0
	for number := 1; len(text) > 0; number++ {
		line, rest, _ := strings.Cut(text, "\n")
		text = rest
		msg := "too many blank lines in a row"
		if strings.Trim(line, " \t") == "" {
			steps += (len(line) + 1) * blank
			blank += len(line) + 1
		} else {
			blank, msg = 0, "too many tabs or < in long lines"
		}
		steps += len(line) * (strings.Count(line, "\t") + strings.Count(line, "<"))
		if steps > maxYAMLSteps {
			return errorAt(file, number, 1, "%s", "remove some, or write the file as JSON", msg)
		}
	}
	return nil
}

// yamlScan checks the tokens before the parser sees them. It refuses what is
// not supported, and bounds the parser's recursion and the cost of mappings.
type yamlScan struct {
	file    string
	content bool // seen a token that is not part of a document's header
	flow    int  // open [ and {
	omitted int  // missing values in block style
	squares int  // sum over all mappings of the number of keys squared
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
		if s.flow > 0 { // not YAML, and the library takes memory that grows with its square
			return refuse(`"-" begins no value inside [ ] and { }`, `write values with commas, without "-"`)
		}
		s.block(col, false)
		s.value(t, col, col)
	case token.MappingValueType:
		if t.Prev != nil {
			col = t.Prev.Position.Column
		}
		keys := s.block(col, s.flow == 0)
		if keys > maxYAMLKeys {
			return refuse(fmt.Sprintf("more than %d keys in one YAML mapping", maxYAMLKeys), "write the file as JSON")
		}
		if keys > 0 {
			s.squares += 2*keys - 1
		}
		if s.squares > maxYAMLKeys*maxYAMLKeys {
			return refuse("too many YAML mappings with thousands of keys", "write the file as JSON")
		}
		s.value(t, col, col-1) // a list may stand at the column of its key
	}
	if s.omitted > maxYAMLOmitted {
		return refuse(fmt.Sprintf("more than %d missing values", maxYAMLOmitted), "write the values")
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
