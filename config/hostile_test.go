package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// Files made to take long or to fill the memory are refused or read within time
// and memory limits.
func TestHostileFiles(t *testing.T) {
	const (
		size       = maxYAMLSize
		most       = 5 * time.Second
		tooMany    = `: more than 250000 values and comment lines in one YAML file: write it as JSON, or move long address lists to files ("file:trusted.txt")`
		mostMemory = 600 << 20 // all allocations, garbage included
	)
	mappings := func(n, keys int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "m%d:\n", i)
			for k := range keys {
				fmt.Fprintf(&b, "  k%d: x\n", k)
			}
		}
		return b.String()
	}
	for name, tt := range map[string]struct{ data, want string }{
		"mappings.yaml": {mappings(12, 19_000), `mappings.yaml:25247:3: too many YAML mappings with thousands of keys: write the file as JSON`},
		"flow.yaml":     {"a: [" + strings.Repeat("1,", 4_000_000) + "1]", `flow.yaml:1:500002: more than 250000 values and comment lines in one YAML file: write it as JSON, or move long address lists to files ("file:trusted.txt")`},
		"items.yaml":    {strings.Repeat("- 1\n", 2_000_000), `items.yaml:250001:1: more than 250000 values and comment lines in one YAML file: write it as JSON, or move long address lists to files ("file:trusted.txt")`},
		"merge.yaml":    {strings.Repeat("<<", 4_000_000), `merge.yaml:1:1: too many tabs or < in long lines: remove some, or write the file as JSON`},
		"tabs.yaml":     {"a: \"" + strings.Repeat("\t1", 4_000_000), `tabs.yaml:1:1: too many tabs or < in long lines: remove some, or write the file as JSON`},
		"blank.yaml":    {"a: |" + strings.Repeat("\r\n", 4_000_000), `blank.yaml:20002:1: too many blank lines in a row: remove some, or write the file as JSON`},
		"entries.yaml":  {"[" + strings.Repeat("- ", 100_000), `entries.yaml:1:2: "-" begins no value inside [ ] and { }: write values with commas, without "-"`},
		"reserved.yaml": {strings.Repeat("@", size), `reserved.yaml:1:1: not valid YAML, '@' is a reserved character: put the value in quotes`},
		"literal.yaml":  {strings.Repeat("a: |9\nx\n", size/8), "literal.yaml:250001:1" + tooMany},
		"quote.yaml":    {strings.Repeat(`"`, size), "quote.yaml:1:500001" + tooMany},
		"quotes.yaml":   {strings.Repeat(`' `, size/2), "quotes.yaml:1:1000001" + tooMany},
		"headers.yaml":  {strings.Repeat("|\n", size/2), "headers.yaml:250001:1" + tooMany},
		"percent.yaml":  {strings.Repeat("%a\n", size/3), "percent.yaml:250001:1" + tooMany},
		"anchors.yaml":  {strings.Repeat("&", size), "anchors.yaml:1:250001" + tooMany},
		"words.yaml":    {"%" + strings.Repeat("a ", size/2-1), "words.yaml:1:500001" + tooMany},
		"flow.json":     {"[" + strings.Repeat("1,", 4_000_000) + "1]", `flow.json:1:4000000: more than 2000000 values: move long address lists to files ("file:trusted.txt")`},
		"binds.json":    {`{"listeners":{"a":{"bind":[` + strings.Repeat(`":1-65535",`, 100_000) + `":1"]}},"pools":{"p":{"backends":["h:1"]}}}`, ""},
		"keys.json":     {"{" + strings.Repeat(`"an unknown key as long as those of ours":1,`, 500_000/slowdown) + `"x":1}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if slowdown > 1 && name == "flow.json" {
				t.Skip("two million values take too long under the race detector")
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			atMost(t, most*slowdown, func() {
				_, err := Parse(name, []byte(tt.data), nil)
				if tt.want != "" && (err == nil || err.Error() != tt.want) {
					t.Errorf("error %.300v, want %s", err, tt.want)
				}
			})
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > mostMemory {
				t.Errorf("%d MB were allocated for %d MB of text, want at most %d MB", used>>20, len(tt.data)>>20, mostMemory>>20)
			}
		})
	}
}

// A panic of the YAML library is reported as a problem of the file, at the last
// known position.
func TestYAMLPanics(t *testing.T) {
	for want, tokenize := range map[string]func(string) token.Tokens{
		`a.yaml:1:1: cannot be read as YAML: out of\tluck: check its indentation and brackets`: func(string) token.Tokens { panic("out of\tluck") },
		`a.yaml:2:4: cannot be read as YAML: runtime error: invalid memory address or nil pointer dereference: check its indentation and brackets`: func(text string) token.Tokens {
			tokens := lexer.Tokenize(text)
			return append(tokens, nil)
		},
	} {
		_, p := parseYAML("a.yaml", "a: 1\nb: 2", tokenize)
		if p == nil || p.Error() != want {
			t.Errorf("problem %v, want %s", p, want)
		}
	}
}

// A file that is not a list of addresses is not read to its end.
func TestHostileList(t *testing.T) {
	const n = 8_000_000 / slowdown
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "list.txt"), []byte(strings.Repeat("x y\n", n)), 0o644); err != nil {
		t.Fatal(err)
	}
	atMost(t, 2*time.Second, func() {
		_, err := Parse(filepath.Join(dir, "a.yaml"), []byte("listeners: {web: {bind: \":80\", acl: [{deny: \"file:list.txt\"}]}}\npools: {web: {backends: [\"10.0.0.1:80\"]}}"), nil)
		var problems Problems
		if !errors.As(err, &problems) || len(problems) != maxProblems+1 {
			t.Errorf("%d problems, want %d", len(problems), maxProblems+1)
		}
	})
}

// A "-" inside brackets is an entry only where YAML would take it for one.
func TestEntriesInBrackets(t *testing.T) {
	const fault = `a.yaml:%s: "-" begins no value inside [ ] and { }: write values with commas, without "-"`
	for text, want := range map[string]string{
		"a: [- 1]":            fmt.Sprintf(fault, "1:5"),
		"a: [-1, - 2]":        fmt.Sprintf(fault, "1:9"),
		"a: [\n- \"x:1\"\n]":  fmt.Sprintf(fault, "2:1"),
		"a: {b: [-\n]}":       fmt.Sprintf(fault, "1:9"),
		"a: {- b: 1}":         fmt.Sprintf(fault, "1:5"),
		"a: [-1, -x, '- 2']":  "",
		"a: [1] # - 2":        "",
		"a: [1, # - 2\n  3]":  "",
		"a: |\n  [\n  - x\n":  "",
		"a: '['\nb:\n- 1":     "",
		"a: [1]\nb:\n- [2]\n": "",
	} {
		_, p := readYAML("a.yaml", []byte(text))
		if got := fmt.Sprint(p); want == "" && p != nil || want != "" && got != want {
			t.Errorf("%q: %v, want %q", text, p, want)
		}
	}
}

// A list that cannot be read because of what it is gets advice on that.
func TestUnreadableListAdvice(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.txt")
	if err := os.WriteFile(large, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxFileSize+1); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"large.txt":  "larger than 64 MiB: split it into several files",
		"/dev/null":  "not a regular file: name a text file with one address per line",
		"absent.txt": "no such file or directory: a path is relative to the configuration file",
	} {
		_, err := Parse(filepath.Join(dir, "a.yaml"), []byte("listeners: {web: {bind: \":80\", acl: [{deny: \"file:"+name+"\"}]}}\npools: {web: {backends: [\"10.0.0.1:80\"]}}"), nil)
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
