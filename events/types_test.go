package events_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"l4proxy/events"
)

// foreign are folders whose log lines are not those of the proxy.
var foreign = []string{"bench", "peers", "faults", "internal/testload", "internal/testnet", "internal/testenv"}

// messages are the messages of all calls of a slog.Logger in the program, each with a place. One
// that is put together ends with what is constant.
func messages(t *testing.T) map[string]string {
	found := make(map[string]string)
	files := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch name := filepath.ToSlash(strings.TrimPrefix(path, "../")); {
		case err != nil:
			return err
		case entry.IsDir() && (slices.Contains(foreign, name) || path != ".." && strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if text, ok := message(call); ok {
					found[text] = files.Position(call.Pos()).String()
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// message is the message of a call of a method of a logger.
func message(call *ast.CallExpr) (text string, ok bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Info", "Warn", "Error"}, method.Sel.Name) || len(call.Args) == 0 || !isLogger(method.X) {
		return "", false
	}
	arg := call.Args[0]
	if sum, ok := arg.(*ast.BinaryExpr); ok {
		arg = sum.X
	}
	literal, ok := arg.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(literal.Value)
	return text, err == nil
}

// isLogger reports whether an expression is named like the loggers of this program.
func isLogger(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return loggerNamed(x.Name)
	case *ast.SelectorExpr:
		return loggerNamed(x.Sel.Name)
	case *ast.CallExpr: // log.With(...)
		method, ok := x.Fun.(*ast.SelectorExpr)
		return ok && isLogger(method.X)
	}
	return false
}

// loggerNamed knows the logger of the program, and the one whose lines any level has.
func loggerNamed(name string) bool { return strings.EqualFold(name, "log") || name == "always" }

// Each message of the program has a type, and each message that has a type is one of the program.
func TestTypesOfMessages(t *testing.T) {
	inCode := messages(t)
	if len(inCode) < 50 {
		t.Fatalf("%d messages were found: the test does not know how they are written", len(inCode))
	}
	for text, place := range inCode {
		if events.TypeOf(text) == events.Other {
			t.Errorf("%s: the message %q has no type: add it to events/types.go", place, text)
		}
	}
	for text := range events.Types() {
		// It is written past the loggers.
		if _, ok := inCode[text]; !ok && text != "log lines dropped: the log cannot keep up" {
			t.Errorf("no code has the message %q", text)
		}
	}
}

// Types are words that a client can compare with.
func TestTypesAreWords(t *testing.T) {
	word := regexp.MustCompile(`^[a-z0-9]+(_[a-z0-9]+)*$`)
	for text, kind := range events.Types() {
		if !word.MatchString(kind) || kind == events.Other || kind == events.Denied || kind == events.Failed {
			t.Errorf("the type of %q is %q", text, kind)
		}
	}
}

// docs/api.md has a row for each type, with the messages that have it.
func TestDocumentedTypes(t *testing.T) {
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	byType := map[string][]string{
		events.Denied: {"none: clients were denied"}, events.Failed: {"none: clients were not served"}, events.Other: {"a line that is not in this table"},
	}
	for message, kind := range events.Types() {
		byType[kind] = append(byType[kind], "`"+strings.TrimSpace(message)+"`")
	}
	var want []string
	for kind, messages := range byType {
		slices.Sort(messages)
		want = append(want, "| `"+kind+"` | "+strings.Join(messages, ", ")+" |")
	}
	slices.Sort(want)
	_, section, _ := strings.Cut(string(text), "\n| type | log lines |\n|---|---|\n")
	section, _, _ = strings.Cut(section, "\n\n")
	if got := strings.TrimSpace(section); got != strings.Join(want, "\n") {
		t.Errorf("the table of types is\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}
