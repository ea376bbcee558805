package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"l4proxy/internal/testenv"
)

// available are the commands that a user sees, the program itself included.
func available() (root *cobra.Command, all []*cobra.Command) {
	root = newRoot()
	all = append(all, root)
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() || cmd.Name() == "help" {
			all = append(all, cmd)
		}
	}
	return root, all
}

// Each command has a group and says what it does, with examples that can be run.
func TestEveryCommandIsExplained(t *testing.T) {
	root, commands := available()
	for _, cmd := range commands {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") || cmd.Long == "" || strings.HasSuffix(cmd.Long, "\n") || cmd.GroupID == "" && cmd != root {
			t.Errorf("%s: no group, or Short or Long is missing or ends wrongly", cmd.CommandPath())
		}
		examples := 0
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: the example %q is not indented", cmd.CommandPath(), line)
			}
			for _, command := range commandsOf(line) {
				examples++
				if fault := usageFault(command); fault != "" {
					t.Errorf("%s: example %q: %s", cmd.CommandPath(), line, fault)
				}
			}
		}
		if examples == 0 {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
	}
	for _, g := range groups {
		for i, name := range g.commands {
			if slices.Index(g.commands, name) != i {
				t.Errorf("%s is in %q twice", name, g.title)
			}
		}
	}
}

// commandsOf are the arguments of each l4proxy in a line of shell.
func commandsOf(line string) (all [][]string) {
	words := strings.Fields(strings.NewReplacer("<(", " ", ")", " ; ").Replace(line))
	for i := 0; i < len(words); i++ {
		if words[i] != "l4proxy" {
			continue
		}
		end := i + 1
		for end < len(words) && !slices.Contains([]string{"|", "&&", ">", ";"}, words[end]) {
			end++
		}
		all = append(all, words[i+1:end])
		i = end
	}
	return all
}

// The pages of the manual have no warnings, and the same source makes the same pages.
func TestManualPages(t *testing.T) {
	pages := func() (dir string) {
		dir = t.TempDir()
		var stdout, stderr bytes.Buffer
		if code := execute([]string{"man", dir}, &stdout, &stderr); code != exitDone {
			t.Fatalf("exit code %d: %s", code, stderr.String())
		}
		return dir
	}
	first, second := pages(), pages()
	files, err := filepath.Glob(first + "/*")
	if err != nil {
		t.Fatal(err)
	}
	_, commands := available()
	for _, cmd := range commands {
		if cmd.Name() == "help" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(first, manName(cmd)+".1"))
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"} {
			if !bytes.Contains(text, []byte("\n.Sh "+section+"\n")) {
				t.Errorf("%s has no section %s", cmd.CommandPath(), section)
			}
		}
		if same, err := os.ReadFile(filepath.Join(second, manName(cmd)+".1")); err != nil || !bytes.Equal(text, same) {
			t.Errorf("%s: another page the second time, error %v", cmd.CommandPath(), err)
		}
	}
	if len(files) != len(commands)-1 {
		t.Errorf("%d pages of %d commands: %q", len(files), len(commands)-1, files)
	}
	mandoc := testenv.NeedTool(t, "mandoc")
	out, err := runTool(mandoc, append([]string{"-T", "lint", "-W", "warning"}, files...)...)
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = runTool(mandoc, "-T", "ascii", filepath.Join(first, "l4proxy-drain.1"))
	for _, want := range []string{"[--admin address]", "-c, --config file", "l4proxy drain --backend 10.0.0.5:5432 --wait", "L4PROXY_ADMIN_TOKEN"} {
		if text := overstrike.ReplaceAllString(string(out), ""); err != nil || !strings.Contains(text, want) {
			t.Errorf("no %q, error %v, in\n%s", want, err, text)
		}
	}
}

func TestManualPageCannotBeWritten(t *testing.T) {
	for _, dir := range []string{t.TempDir() + "/missing", "/dev/null"} {
		var stdout, stderr bytes.Buffer
		code := execute([]string{"man", dir}, &stdout, &stderr)
		if code != exitFailed || !strings.Contains(stderr.String(), "cannot write the manual pages: open "+dir+"/l4proxy.1: ") || stdout.Len() > 0 {
			t.Errorf("%s: exit code %d, %q", dir, code, stderr.String())
		}
	}
}

func TestManualDate(t *testing.T) {
	env := func(value string) func(string) (string, bool) {
		return func(name string) (string, bool) { return value, name == "SOURCE_DATE_EPOCH" }
	}
	if date, err := manDate(env("86400")); err != nil || date.Format("2006-01-02") != "1970-01-02" {
		t.Errorf("%v, %v", date, err)
	}
	if date, err := manDate(env("")); err != nil || date.Year() < 2025 {
		t.Errorf("%v, %v", date, err)
	}
	if _, err := manDate(env("yesterday")); err == nil {
		t.Error("no error")
	}
}

// Text that would be a macro, or a quote, stays what it is.
func TestManualText(t *testing.T) {
	m := new(manual)
	m.text(`.Sh is no macro here. 'neither' \n is`)
	m.literal("  .dot\n\n  --flag")
	m.macro("Nd", `a "quoted" word`)
	want := `\&.Sh is no macro here.
\&'neither' \en is
.Bd -literal -offset indent
\&.dot

\-\-flag
.Ed
.Nd "a \(dqquoted\(dq word"
`
	if got := m.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// overstrike is how a typewriter, and man, writes bold and underlined text.
var overstrike = regexp.MustCompile(`.\x08`)

func runTool(name string, args ...string) ([]byte, error) {
	return exec.Command(name, args...).CombinedOutput()
}
