package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

var utf8BOM = []byte("\xef\xbb\xbf")

// Load reads the file called name, merges the environment, fills in the
// defaults and validates. env is like [os.LookupEnv]; nil is an empty
// environment. With name "" there is no file, and the three variables of the
// simple form must be set. The error is of type [Problems].
func Load(name string, env func(string) (string, bool)) (*Config, error) {
	if name == "" {
		d := newDecoder("", env)
		return d.finish(d.simple(nil), nil)
	}
	data, err := readFile(name)
	if err != nil {
		p := Problem{File: name, Msg: "cannot read the configuration: " + reason(err)}
		if errors.Is(err, fs.ErrNotExist) {
			p.Fix = "name another file with -c, or set LISTENER_PORT, BACKEND_PORTS and ACCESS_CONTROL_LIST"
		}
		return nil, Problems{p}
	}
	return Parse(name, data, env)
}

// Parse is [Load] with the content of the main file given. Its name is for
// messages, for finding "file:" lists beside it, and to tell JSON from YAML;
// when the suffix does not tell, a text that begins with "{" is JSON.
func Parse(name string, data []byte, env func(string) (string, bool)) (*Config, error) {
	return newDecoder(name, env).parse(data)
}

func newDecoder(name string, env func(string) (string, bool)) *decoder {
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	return &decoder{
		file: name, env: env, readList: readRegular,
		lists: make(map[string]*List), pools: make(map[string]*poolUse),
	}
}

func (d *decoder) parse(data []byte) (*Config, error) {
	data = bytes.TrimPrefix(data, utf8BOM)
	if p := checkText(d.file, data); p != nil {
		return nil, Problems{*p}
	}
	read := readYAML
	if isJSON(d.file, data) {
		read = readJSON
	}
	root, p := read(d.file, data)
	if p != nil {
		d.add(*p)
		return d.finish(nil, data)
	}
	return d.finish(d.decode(root), data)
}

// decode chooses the form by its keys.
func (d *decoder) decode(root *node) *Config {
	if root.kind != kindMap {
		d.expected(root, "the keys of a configuration", `write listeners and pools, or "LISTENER_PORT", "BACKEND_PORTS" and "ACCESS_CONTROL_LIST"`)
		return nil
	}
	simple, full := d.forms(root)
	switch {
	case simple != nil && full != nil:
		later := simple
		if full.line > simple.line || full.line == simple.line && full.col > simple.col {
			later = full
		}
		d.faultf(later.keyNode(), "keep one of the two forms", "%s and %s do not mix: one is of the simple form, one of the full form", simple.key, full.key)
		return nil
	case simple != nil:
		return d.simple(root)
	case full == nil && d.simpleEnv():
		return d.simple(root)
	}
	d.refuseSimpleEnv()
	return d.full(root)
}

// forms returns the first key of each form, also when it is mistyped.
func (d *decoder) forms(root *node) (simple, full *member) {
	for _, m := range root.members {
		switch {
		case simpleSection.key(m.key) != nil:
			if simple == nil {
				simple = m
			}
		case fullSection.key(m.key) != nil:
			if full == nil {
				full = m
			}
		}
	}
	if simple != nil || full != nil {
		return simple, full
	}
	for _, m := range root.members[:min(len(root.members), maxProblems)] {
		if suggest(m.key, simpleSection.names()) != "" && suggest(m.key, fullSection.names()) == "" {
			return m, nil
		}
	}
	return nil, nil
}

func (d *decoder) simpleEnv() bool {
	for _, k := range simpleSection.keys {
		if _, ok := d.override(k.name); ok {
			return true
		}
	}
	return false
}

// finish applies the overrides of the log section and returns the Config, or
// every problem when there is one. c is nil when the file could not be read.
func (d *decoder) finish(c *Config, data []byte) (*Config, error) {
	if c == nil {
		c = d.defaults()
	}
	d.logEnv(&c.Log)
	if len(d.problems) == 0 {
		c.Warnings = d.warnings.sorted(d.file)
		return c, nil
	}
	clamp(d.problems, d.file, data)
	ps := d.problems.sorted(d.file)
	if d.dropped > 0 {
		ps = append(ps, Problem{File: d.file, Msg: fmt.Sprintf("%d more problems", d.dropped)})
	}
	return nil, ps
}

func isJSON(name string, data []byte) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".json":
		return true
	case ".yaml", ".yml":
		return false
	}
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
}

// checkText refuses what is no text before a reader stumbles over it.
func checkText(name string, data []byte) *Problem {
	if len(data) > maxFileSize {
		return &Problem{File: name, Msg: fmt.Sprintf("larger than %d MiB", maxFileSize>>20), Fix: `move long address lists to files ("file:trusted.txt")`}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return &Problem{File: name, Line: 1, Col: 1, Msg: "the file is empty", Fix: "write a configuration, as in docs/configuration.md"}
	}
	bad := len(data)
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 || isControl(r) {
			bad = i
			break
		}
		i += size
	}
	if bad == len(data) {
		return nil
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return errorAt(name, 1, 1, "looks like UTF-16", "save the file as UTF-8")
	}
	line, col := newTextPosition(data).at(bad)
	if data[bad] == 0 {
		return errorAt(name, line, col, "contains a NUL byte", "save the file as UTF-8 text")
	}
	return errorAt(name, line, col, "not UTF-8 text, byte 0x%02x", "save the file as UTF-8", data[bad])
}

// isControl tells characters that have no place in a text file.
func isControl(r rune) bool {
	return r == 0x7f || r < ' ' && r != '\t' && r != '\n' && r != '\r'
}

// readFile reads a whole file of at most maxFileSize bytes (and one, so that
// the size can be refused).
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFileSize+1))
}

// readRegular is readFile for a regular file; opening a FIFO would wait for a
// writer.
func readRegular(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	data, err := readFile(name)
	if err == nil && len(data) > maxFileSize {
		return nil, errTooLarge
	}
	return data, err
}

var (
	errNotRegular = errors.New("not a regular file")
	errTooLarge   = fmt.Errorf("larger than %d MiB", maxFileSize>>20)
)

// reason is the text of an error without the operation and the file name.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return err.Error()
}
