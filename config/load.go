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

const (
	maxFileSize = 64 << 20
	// maxYAMLSize bounds the memory of the YAML library, which takes hundreds of bytes for each
	// value.
	maxYAMLSize = 8 << 20
)

var utf8BOM = []byte("\xef\xbb\xbf")

// Load reads the file called name, merges the environment, fills in the defaults and validates. env
// is like [os.LookupEnv]; nil is an empty environment. With name "" there is no file, and the three
// variables of the simple form must be set. The error is of type [Problems].
func Load(name string, env func(string) (string, bool)) (*Config, error) {
	c, _, err := LoadFiles(name, env)
	return c, err
}

func cannotRead(name string, err error) *Problem {
	p := problemf(name, 0, 0, "", "cannot read the configuration: %s", reason(err))
	if errors.Is(err, fs.ErrNotExist) {
		p.Fix = "name another file with -c, or set LISTENER_PORT, BACKEND_PORTS and ACCESS_CONTROL_LIST"
	}
	return p
}

// Parse is [Load] with the content of the main file given. Its name is for messages, for finding
// "file:" lists beside it, and to tell JSON from YAML; when the suffix does not tell, a text that
// begins with "{" is JSON.
func Parse(name string, data []byte, env func(string) (string, bool)) (*Config, error) {
	return newDecoder(name, env).parse(data)
}

func newDecoder(name string, env func(string) (string, bool)) *decoder {
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	return &decoder{
		file: name, env: env, readList: readRegular, lists: make(map[string]*List), values: make(map[string]fileValue),
		unread: unread{make(map[string]bool), make(map[string]bool)},
	}
}

func (d *decoder) parse(data []byte) (*Config, error) {
	data = bytes.TrimPrefix(data, utf8BOM)
	if p := checkText(d.file, data); p != nil {
		return nil, Problems{*p}
	}
	data = unixLines(data)
	read := readYAML
	switch {
	case isJSON(d.file, data):
		read = readJSON
	case len(data) > maxYAMLSize:
		return nil, Problems{*problemf(d.file, 0, 0, `write it as JSON, or move long address lists to files ("file:trusted.txt")`,
			"larger than %d MiB, the limit for YAML", maxYAMLSize>>20)}
	}
	root, p := read(d.file, data)
	if p != nil {
		d.addProblem(*p)
		root = nil
	}
	return d.finish(root, data)
}

// finish turns the tree of a file into a configuration, or into every problem when there is one.
// root is nil when there is no file, or no readable one.
func (d *decoder) finish(root *node, data []byte) (*Config, error) {
	c := &Config{File: d.file}
	SetDefaults(c)
	decoded := len(d.problems) == 0 && d.decode(c, root)
	d.logEnv(c)
	d.adminEnv(c)
	if decoded {
		Complete(c)
		check := newChecker(c, d.unread)
		check.all()
		known := min(len(check.faults), maxProblems)
		for _, p := range c.Locate(check.faults[:known]) {
			d.addProblem(p)
		}
		d.dropped += len(check.faults) - known
		c.Warnings = append(d.warnings, c.Locate(check.warnings)...).sorted(d.file)
	}
	if len(d.problems) == 0 {
		return c, nil
	}
	clamp(d.problems, d.file, data)
	ps := d.problems.sorted(d.file)
	if d.dropped > 0 {
		ps = append(ps, *problemf(d.file, 0, 0, "", "%d more problems", d.dropped))
	}
	return nil, ps
}

// decode chooses the form by its keys. It reports whether there was one.
func (d *decoder) decode(c *Config, root *node) bool {
	if root == nil {
		d.simple(c, nil)
		return true
	}
	c.Source = &Source{file: d.file, root: root}
	if root.kind != kindMap {
		d.expected(root, nil, "the keys of a configuration", `write listeners and pools, or "LISTENER_PORT", "BACKEND_PORTS" and "ACCESS_CONTROL_LIST"`)
		return false
	}
	simple, full := forms(root)
	switch {
	case simple != nil && full != nil:
		later := simple
		if full.line > simple.line || full.line == simple.line && full.col > simple.col {
			later = full
		}
		d.faultf(later.keyNode(), nil, "use one of the two forms", "%s belongs to the simple form and %s to the full form, and a file cannot mix them", simple.key, full.key)
		return false
	case simple != nil, full == nil && d.simpleEnv():
		d.simple(c, root)
	default:
		d.refuseSimpleEnv()
		section(c).decode(d, root, nil)
	}
	return true
}

// forms returns the first key of each form, also when it is mistyped.
func forms(root *node) (simple, full *member) {
	fullForm := new(Config).fields()
	for _, m := range root.members {
		switch {
		case simple == nil && isSimpleKey(m.key):
			simple = m
		case full == nil && fullForm.find(m.key) != nil:
			full = m
		}
	}
	if simple != nil || full != nil {
		return simple, full
	}
	for _, m := range root.members[:min(len(root.members), maxProblems)] {
		if suggest(m.key, simpleKeys) != "" && suggest(m.key, fullForm.keys()) == "" {
			return m, nil
		}
	}
	return nil, nil
}

// clamp moves problems outside of data to the nearest position in it. The YAML library places
// values that were left out after the end of their line.
func clamp(ps Problems, file string, data []byte) {
	lines := bytes.Split(data, []byte("\n"))
	widths := make(map[int]int)
	for i := range ps {
		p := &ps[i]
		if p.File != file || p.Line == 0 {
			continue
		}
		p.Line = min(p.Line, len(lines))
		width, known := widths[p.Line]
		if !known {
			width = utf8.RuneCount(lines[p.Line-1])
			widths[p.Line] = width
		}
		p.Col = max(1, min(p.Col, width+1))
	}
}

// unixLines makes every end of a line, CR LF or CR, a single LF.
func unixLines(data []byte) []byte {
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
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

// checkText rejects data that is not text before a parser sees it.
func checkText(name string, data []byte) *Problem {
	if len(data) > maxFileSize {
		return problemf(name, 0, 0, `move long address lists to files ("file:trusted.txt")`, "larger than %d MiB", maxFileSize>>20)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return problemf(name, 1, 1, "write a configuration, as in docs/configuration.md", "the file is empty")
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 || r == 0x7f || r < ' ' && r != '\t' && r != '\n' && r != '\r' {
			before := unixLines(data[:i])
			line, col := newTextPosition(before).at(len(before))
			return problemf(name, line, col, "save the file as UTF-8 text", "the byte 0x%02x does not belong in a text file", data[i])
		}
		i += size
	}
	return nil
}

// readFile reads a whole file of at most maxFileSize bytes (and one, so that the size can be
// refused).
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFileSize+1))
}

// readRegular is readFile for a regular file; opening a FIFO would wait for a writer.
func readRegular(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	if info.Size() > maxFileSize {
		return nil, errTooLarge
	}
	data, err := readFile(name)
	if err == nil && len(data) > maxFileSize { // it has grown meanwhile
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
