package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// walk calls f with the path from the root of every file of the project.
func walk(t *testing.T, f func(name string)) {
	t.Helper()
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(repository, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || name == "bench/out" || strings.HasPrefix(name, ".") && name != "." && name != ".ci"):
			return filepath.SkipDir // golden files, output of benchmarks, installed tools
		case d.Type().IsRegular():
			f(filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A piece of prose begins on a line of a file.
type piece struct {
	line int
	text string
}

var (
	lineComment = regexp.MustCompile(`(?m)^[ \t]*(?://|#)`)
	// words is the table of CONTRIBUTING.md, whose first column holds what is not written.
	words = regexp.MustCompile(`(?m)^\| ([^|\n]+) \| ([^|\n]+) \|$`)
)

// prose returns what people read in a file: Markdown, examples and scripts as they are; of Go,
// comments and strings, but not those of tests. It returns nil for other files.
func prose(t *testing.T, name string) []piece {
	t.Helper()
	ext, base := filepath.Ext(name), filepath.Base(name)
	switch {
	case strings.HasSuffix(name, "_test.go"):
		return nil
	case ext == ".go":
		return goProse(t, name)
	case ext == ".md", ext == ".sh", ext == ".yaml", ext == ".yml", base == "Makefile", name == ".ci/run",
		strings.HasPrefix(name, "examples/"):
	default:
		return nil
	}
	data, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	switch {
	case name == "CONTRIBUTING.md":
		text = words.ReplaceAllString(text, "| | $2 |")
	case ext != ".md":
		text = lineComment.ReplaceAllString(text, " ")
	}
	return []piece{{1, text}}
}

func goProse(t *testing.T, name string) (pieces []piece) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, filepath.Join(repository, name), nil, parser.ParseComments)
	if err != nil {
		t.Error(err)
		return nil
	}
	for _, group := range file.Comments {
		text := make([]string, len(group.List))
		for i, c := range group.List {
			text[i] = strings.TrimPrefix(strings.TrimPrefix(c.Text, "//"), "/*")
		}
		pieces = append(pieces, piece{files.Position(group.Pos()).Line, strings.Join(text, "\n")})
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if _, imported := n.(*ast.ImportSpec); imported {
			return false
		}
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			pieces = append(pieces, piece{files.Position(lit.Pos()).Line, lit.Value})
		}
		return true
	})
	return pieces
}
