package config

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxFileValue bounds the size of a file that stands for a value, in bytes.
const maxFileValue = 64 << 10

// filePrefix marks a variable whose value is in a file: ${file:PATH}.
const filePrefix = "file:"

// expandVariable evaluates what stands between "${" and "}".
func (d *decoder) expandVariable(body string) (string, *Fault) {
	path, isFile := strings.CutPrefix(body, filePrefix)
	if !isFile {
		return variable(body, d.env)
	}
	path, fallback, hasFallback := strings.Cut(path, ":-")
	if path == "" {
		return "", faultf("write ${file:PATH}, as in ${file:/run/secrets/token}", "${file:} is not followed by a path")
	}
	data, err := d.readValue(d.beside(path))
	switch {
	case hasFallback && errors.Is(err, fs.ErrNotExist):
		return fallback, nil
	case errors.Is(err, fs.ErrPermission):
		return "", faultf("let the user of the proxy read it", "cannot read the file %s: %s", quote(path), reason(err))
	case err != nil:
		return "", faultf("check the path: it is relative to the configuration file", "cannot read the file %s: %s", quote(path), reason(err))
	case len(data) > maxFileValue:
		return "", faultf("write the value, and nothing else, into it", "the file %s is larger than %d KiB", quote(path), maxFileValue>>10)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(bytes.TrimPrefix(data, utf8BOM)), "\n"), "\r")
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", faultf("write one line of UTF-8 text into it", "the file %s holds more than one line of text", quote(path))
	}
	return text, nil
}

// readValue reads a file, once however often it is named.
func (d *decoder) readValue(name string) ([]byte, error) {
	if v, known := d.values[name]; known {
		return v.data, v.err
	}
	data, err := d.readList(name)
	d.noteFile(name, data, err)
	d.values[name] = fileValue{data, err}
	return data, err
}

// fileValue is a file that was read, or why it could not be.
type fileValue struct {
	data []byte
	err  error
}

// beside returns a path that is relative to the configuration file as the program has to open it.
func (d *decoder) beside(name string) string {
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(d.file), name)
	}
	return filepath.Clean(name)
}
