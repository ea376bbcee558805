package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fileValues writes a configuration whose message is text, with some files beside it.
func fileValues(t *testing.T, message string) (name string) {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"c.yaml":  "listeners: {web: {bind: \":80\", deny_message: \"" + message + "\", no_backend_message: \"" + message + "\", when_no_backend: message}}\npools: {web: {backends: [10.0.0.5:80]}}\n",
		"secret":  "pass$word ${NAME}\r\n",
		"number":  "30",
		"lines":   "one\ntwo\n",
		"binary":  "\x00\xff",
		"empty":   "",
		"big":     strings.Repeat("x", maxFileValue+1),
		"sub/ten": "10",
	}
	for file, text := range files {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "c.yaml")
}

func TestFileValues(t *testing.T) {
	for message, want := range map[string]string{
		"${file:secret}": "pass$word ${NAME}",
		"<${file:number}-${file:sub/../sub/ten}>": "<30-10>",
		"a${file:empty}b":                         "ab",
		"${file:missing:-not there}":              "not there",
		"$${file:secret}":                         "${file:secret}",
	} {
		c, err := Load(fileValues(t, message), nil)
		if err != nil {
			t.Errorf("%s: %v", message, err)
		} else if got := c.Listeners[0].DenyMessage; got != want {
			t.Errorf("%s: %q, want %q", message, got, want)
		}
	}
}

func TestBadFileValues(t *testing.T) {
	for message, want := range map[string]string{
		"${file:missing}":   `cannot read the file "missing": no such file or directory: check the path: it is relative to the configuration file`,
		"${file:}":          "${file:} is not followed by a path: write ${file:PATH}, as in ${file:/run/secrets/token}",
		"${file:sub}":       `cannot read the file "sub": not a regular file: check the path: it is relative to the configuration file`,
		"${file:sub:-here}": `cannot read the file "sub": not a regular file: check the path: it is relative to the configuration file`,
		"${file:lines}":     `the file "lines" holds more than one line of text: write one line of UTF-8 text into it`,
		"${file:binary}":    `the file "binary" holds more than one line of text: write one line of UTF-8 text into it`,
		"${file:big}":       `the file "big" is larger than 64 KiB: write the value, and nothing else, into it`,
	} {
		name := fileValues(t, message)
		_, err := Load(name, nil)
		if err == nil {
			t.Errorf("%s was accepted", message)
			continue
		}
		if got, want := strings.SplitN(err.Error(), "\n", 2)[0], name+":1:46: "+want; got != want {
			t.Errorf("%s:\n%s, want\n%s", message, got, want)
		}
	}
}

// Each file is read once, and reported with the others, even if it is missing: it may appear.
func TestFileValuesAreReported(t *testing.T) {
	name := fileValues(t, "${file:secret} ${file:missing:-x}")
	_, files, err := LoadFiles(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	beside := func(file string) string { return filepath.Join(filepath.Dir(name), file) }
	if diff := cmp.Diff([]File{ReadFile(name), ReadFile(beside("secret")), {Name: beside("missing")}}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
