package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Files that a parser could choke on are refused, or read within time limits.
func TestHostileFiles(t *testing.T) {
	const deep = ": nested more than 32 levels deep: the configuration needs far fewer"
	for name, tt := range map[string]struct{ data, want string }{
		"brackets.yaml": {strings.Repeat("[", 1_000_000/slowdown), "brackets.yaml:1:33" + deep},
		"braces.yaml":   {strings.Repeat("{a: ", 1_000_000/slowdown), "braces.yaml:1:129" + deep},
		"dashes.yaml":   {strings.Repeat("- ", 1_000_000/slowdown), "dashes.yaml:1:65" + deep},
		"binds.json":    {`{"listeners":{"a":{"bind":[` + strings.Repeat(`":1-65535",`, 100_000/slowdown) + `":1"]}},"pools":{"p":{"backends":["h:1"]}}}`, ""},
		"keys.json":     {"{" + strings.Repeat(`"an unknown key as long as those of ours":1,`, 500_000/slowdown) + `"x":1}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			atMost(t, 5*time.Second*slowdown, func() {
				_, err := Parse(name, []byte(tt.data), nil)
				if err == nil || tt.want != "" && err.Error() != tt.want {
					t.Errorf("error %.300v, want %s", err, tt.want)
				}
			})
		})
	}
}

// A panic of the YAML library is reported as a problem of the file.
func TestYAMLPanics(t *testing.T) {
	const want = `a.yaml:1:1: not valid YAML, out of\tluck: ` + yamlFix
	_, p := guarded("a.yaml", func() (*node, *Problem) { panic("out of\tluck") })
	if p == nil || p.Error() != want {
		t.Errorf("problem %v, want %s", p, want)
	}
}

// A "-" inside brackets begins no value, although the YAML library takes it for one.
func TestEntriesInBrackets(t *testing.T) {
	const pools = "\npools: {p: {backends: [\"h:1\"]}}"
	for text, valid := range map[string]bool{
		`listeners: {a: {bind: [- ":80"]}}`:             false,
		`listeners: {a: {bind: [":81", - ":80"]}}`:      false,
		"listeners: {a: {bind: [\n- \":80\"\n]}}":       false,
		`listeners: {a: {- bind: ":80"}}`:               false,
		`listeners: {a: {bind: - ":80"}}`:               false,
		"listeners: {a: {bind:\n- \":80\"}}":            false,
		`listeners: {-a: {bind: ["-:80"]}}`:             false,
		`listeners: {-a: {bind: [":80"]}}`:              true,
		"listeners: {a: {bind: [\":80\"]}} # - 2":       true,
		"listeners: {a: {bind: [\":80\", # - 2\n ]}}":   true,
		"listeners: {a: {bind: ':80'}}\nlog:\n  {\n  }": true,
	} {
		if _, err := Parse("a.yaml", []byte(text+pools), nil); (err == nil) != valid {
			t.Errorf("%q: error %v, want it valid: %v", text, err, valid)
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
		"absent.txt": "no such file or directory: check the path: it is relative to the configuration file",
	} {
		_, err := Parse(filepath.Join(dir, "a.yaml"), []byte("listeners: {web: {bind: \":80\", acl: [{deny: \"file:"+name+"\"}]}}\npools: {web: {backends: [\"10.0.0.1:80\"]}}"), nil)
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
