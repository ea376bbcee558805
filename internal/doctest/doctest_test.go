// Package doctest keeps the project's prose in the words of CONTRIBUTING.md.
package doctest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"l4proxy/internal/testenv"
)

const repository = "../.."

func TestPlainEnglish(t *testing.T) {
	if testenv.Race {
		t.Skip("it starts no goroutine, and takes long under the race detector")
	}
	files := 0
	walk(t, func(name string) {
		pieces := prose(t, name)
		if pieces == nil {
			return
		}
		files++
		for _, p := range pieces {
			for _, f := range find(p.text) {
				line := p.line + strings.Count(p.text[:f.offset], "\n")
				t.Errorf("%s:%d: %q: see Words in CONTRIBUTING.md", name, line, f.text)
			}
		}
	})
	if files < 100 {
		t.Errorf("only %d files were read", files)
	}
}

// Comments on lines of their own end before column 101, with tabs of four columns.
func TestCommentWidth(t *testing.T) {
	const width = 100
	walk(t, func(name string) {
		if filepath.Ext(name) != ".go" {
			return
		}
		data, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil {
			t.Fatal(err)
		}
		number := 0
		for line := range strings.Lines(string(data)) {
			number++
			line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", "    ")
			if utf8.RuneCountInString(line) > width && strings.HasPrefix(strings.TrimLeft(line, " "), "// ") {
				t.Errorf("%s:%d: the comment is wider than %d columns", name, number, width)
			}
		}
	})
}

var logLine = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (?:debug|info|warn|error) \\|")

// Every log line in docs/operations.md is one that the program writes.
func TestLogLines(t *testing.T) {
	written := make(map[string]bool)
	walk(t, func(name string) {
		if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return
		}
		for _, p := range goProse(t, name) {
			if line, err := strconv.Unquote(p.text); err == nil {
				written[line] = true
			}
		}
	})
	text, err := os.ReadFile(filepath.Join(repository, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines := logLine.FindAllStringSubmatch(string(text), -1)
	if len(lines) < 20 {
		t.Errorf("only %d lines were found", len(lines))
	}
	for _, m := range lines {
		if !written[m[1]] {
			t.Errorf("docs/operations.md: the program does not log %q", m[1])
		}
	}
}

// The table in CONTRIBUTING.md has an example of every phrase, and recommends none of them.
func TestLexiconIsDocumented(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(repository, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(data), "\n## Words\n")
	if !ok {
		t.Fatal("CONTRIBUTING.md has no section Words")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var shown []int
	for _, row := range words.FindAllStringSubmatch(section, -1) {
		if row[1] == "do not write" || strings.HasPrefix(row[1], "---") {
			continue
		}
		for example := range strings.SplitSeq(row[1], " · ") {
			found := find(example)
			if len(found) == 0 {
				t.Errorf("no pattern matches %q", example)
			}
			for _, f := range found {
				shown = append(shown, f.phrase)
			}
		}
	}
	for i, p := range lexicon {
		if !slices.Contains(shown, i) {
			t.Errorf("the table shows no example of %s", p.pattern)
		}
	}
}

func TestFind(t *testing.T) {
	for text, want := range map[string]bool{
		"a client who\n\tcomes":                        true,
		"Who has waited in a queue is closed.":         true,
		"Who may import what?":                         false,
		"Go says who ended it":                         false,
		`User "nobody"`:                                false,
		"nobody listens":                               true,
		"tells a reset from a FIN":                     false,
		"tells that the machine stood still":           true,
		"1,000 connections a loop":                     true,
		"1,000 connections a second":                   false,
		"CPU a request":                                true,
		"within a second":                              false,
		"ends a connection":                            false,
		"each 2 s":                                     true,
		"each 2 streams":                               false,
		"as much memory as before":                     false,
		"twice as much":                                true,
		"so many files that it fails":                  false,
		"takes a place in the queue":                   true,
		"takes place":                                  false,
		"in one place":                                 false,
		"stops listening":                              false,
		"stopped to listen":                            true,
		"it has not answered":                          false,
		"which JSON has not.":                          true,
		"the one that ends, and the other that starts": true,
	} {
		if got := len(find(text)) > 0; got != want {
			t.Errorf("found in %s: %v, want %v", strconv.Quote(text), got, want)
		}
	}
}
