package main

import (
	"bytes"
	"cmp"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"l4proxy/config"
	"l4proxy/proxy"
)

const repository = "../.."

// documents returns the text of every Markdown file of the repository by its path from the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, pattern := range []string{"*.md", "*/*.md", "docs/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name, err := filepath.Rel(repository, file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(name, ".") {
				continue // of installed tools
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found[name] = string(text)
		}
	}
	for _, name := range []string{"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/configuration.md", "docs/operations.md"} {
		if found[name] == "" {
			t.Errorf("%s is missing", name)
		}
	}
	return found
}

var (
	codeBlock = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	link      = regexp.MustCompile(`\[[^]]*\]\(([^)\s]+)\)`)
	heading   = regexp.MustCompile(`(?m)^#+ (.+)$`)
	goFile    = regexp.MustCompile("`([a-z0-9_]+/[a-z0-9_/]*\\.go)`")
	// inlineCommand is a command in the text.
	inlineCommand = regexp.MustCompile("`((?:make|(?:\\./)?l4proxy|go (?:run|build)) [^`]+)`")
	number        = regexp.MustCompile(`^\d{4}-[a-z0-9-]+\.md$`)
)

// Links within the repository lead somewhere, and Go files that are named exist.
func TestDocumentedPathsExist(t *testing.T) {
	docs := documents(t)
	links := 0
	for name, text := range docs {
		text = codeBlock.ReplaceAllString(text, "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if target.Scheme != "" {
				continue
			}
			links++
			file := name
			if target.Path != "" {
				file = filepath.Join(filepath.Dir(name), target.Path)
			}
			if _, err := os.Stat(filepath.Join(repository, file)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", name, m[1])
			} else if target.Fragment != "" && !slices.Contains(anchors(docs[file]), target.Fragment) {
				t.Errorf("%s: %s has no heading for %s", name, file, m[1])
			}
		}
		for _, m := range goFile.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(repository, m[1])); err != nil {
				t.Errorf("%s names %s, which does not exist", name, m[1])
			}
		}
	}
	if links < 20 {
		t.Errorf("%d links were found: the pattern is wrong", links)
	}
}

// anchors are the fragments by which a document's headings can be linked to.
func anchors(text string) []string {
	var found []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		var b strings.Builder
		for _, c := range strings.ToLower(m[1]) {
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
				b.WriteRune(c)
			case c == ' ':
				b.WriteByte('-')
			}
		}
		found = append(found, b.String())
	}
	return found
}

// Every command in a block of shell can be run: the program knows it, make has the target, the
// package exists.
func TestDocumentedCommands(t *testing.T) {
	commands := 0
	for name, text := range documents(t) {
		for _, block := range codeBlock.FindAllStringSubmatch(text, -1) {
			if block[1] != "sh" {
				continue
			}
			for line := range strings.Lines(block[2]) {
				commands++
				if fault := commandFault(strings.Fields(line)); fault != "" {
					t.Errorf("%s: %s: %s", name, strings.TrimSpace(line), fault)
				}
			}
		}
		// Elsewhere, a span of code that begins like a command may be a log line.
		if name != "README.md" && name != "CONTRIBUTING.md" {
			continue
		}
		for _, span := range inlineCommand.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
			commands++
			if fault := commandFault(strings.Fields(span[1])); fault != "" {
				t.Errorf("%s: %s: %s", name, span[1], fault)
			}
		}
	}
	if commands < 5 {
		t.Errorf("%d commands were found: the pattern is wrong", commands)
	}
}

func commandFault(words []string) string {
	switch {
	case len(words) > 0 && (words[0] == "l4proxy" || words[0] == "./l4proxy"):
		return usageFault(words[1:])
	case len(words) == 2 && words[0] == "make":
		if out, err := exec.Command("make", "-C", repository, "-n", words[1]).CombinedOutput(); err != nil {
			return string(out)
		}
		return ""
	case len(words) >= 3 && words[0] == "go" && (words[1] == "run" || words[1] == "build"):
		if _, err := os.Stat(filepath.Join(repository, words[2], "main.go")); err != nil {
			return "there is no command in " + words[2]
		}
		return usageFault(words[3:])
	}
	return "the test does not know this program"
}

// usageFault is what l4proxy would say of its arguments.
func usageFault(args []string) string {
	var stderr bytes.Buffer
	if execute(append(slices.Clone(args), "--help"), new(bytes.Buffer), &stderr) != exitDone {
		return stderr.String()
	}
	root := newRoot()
	command, rest, err := root.Find(args)
	if err != nil {
		return err.Error()
	}
	if err := command.ParseFlags(rest); err != nil {
		return err.Error()
	}
	if err := command.ValidateArgs(command.Flags().Args()); err != nil {
		return err.Error()
	}
	return ""
}

// The test above finds what is wrong.
func TestCommandFaults(t *testing.T) {
	for _, wrong := range []string{
		"l4proxy chekc", "l4proxy check --jsno", "./l4proxy config.json", "make nonsense", "go run ./cmd/other", "rm -rf .",
		"go run ./cmd/l4proxy dmo",
	} {
		if commandFault(strings.Fields(wrong)) == "" {
			t.Errorf("nothing wrong with %s", wrong)
		}
	}
}

// Blocks of JSON and YAML, and the examples, are configurations.
func TestDocumentedConfigurations(t *testing.T) {
	blocks := 0
	for name, text := range documents(t) {
		for _, block := range codeBlock.FindAllStringSubmatch(text, -1) {
			if block[1] != "json" && block[1] != "yaml" {
				continue
			}
			blocks++
			// Beside the examples, where the lists that they name are.
			file := filepath.Join(repository, "examples", filepath.Base(name)+"."+block[1])
			if _, err := config.Parse(file, []byte(block[2]), nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if blocks < 4 {
		t.Errorf("%d blocks were found: the pattern is wrong", blocks)
	}
	var stdout, stderr bytes.Buffer
	for _, name := range []string{"simple.json", "full.yaml", "web.yaml", "postgres.yaml"} {
		if code := execute([]string{"check", "-c", filepath.Join(repository, "examples", name)}, &stdout, &stderr); code != exitDone {
			t.Errorf("check %s: exit code %d: %s%s", name, code, stdout.String(), stderr.String())
		}
	}
}

// docs/operations.md has a row for each reason, with its level, and for each field of a
// connection's line, in order.
func TestDocumentedLog(t *testing.T) {
	text := documents(t)["docs/operations.md"]
	var want []string
	for _, reason := range reasons() {
		name := "`" + reason.String() + "`"
		if levelOf(reason).String() == "WARN" {
			name += " *"
		}
		want = append(want, name)
	}
	if got := rows(t, text, "### Reasons"); !slices.Equal(got, want) {
		t.Errorf("reasons:\n%q\nwant\n%q", got, want)
	}
	want = nil
	for _, field := range connectionFields {
		want = append(want, "`"+field+"`")
	}
	if got := rows(t, text, "### The line of a connection"); !slices.Equal(got, want) {
		t.Errorf("fields:\n%q\nwant\n%q", got, want)
	}
}

// reasons are all reasons for which a connection can end. String panics after the last one.
func reasons() (all []proxy.Reason) {
	defer func() { _ = recover() }()
	for r := proxy.ReasonNone + 1; ; r++ {
		_ = r.String()
		all = append(all, r)
	}
}

// rows returns the first column of the table below a heading.
func rows(t *testing.T, text, heading string) []string {
	t.Helper()
	_, section, ok := strings.Cut(text, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("no heading %s", heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	var column []string
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]*?) \\|").FindAllStringSubmatch(section, -1) {
		column = append(column, m[1])
	}
	return column
}

// Decisions are numbered without a gap, and each has its four parts.
func TestDecisions(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(repository, "docs/decisions/*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no decisions: %v", err)
	}
	for i, file := range files {
		name := filepath.Base(file)
		if !number.MatchString(name) || strings.TrimLeft(name[:4], "0") != strconv.Itoa(i+1) {
			t.Errorf("%s is not number %d", name, i+1)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		for _, m := range regexp.MustCompile(`(?m)^##? (\d+)?.*$`).FindAllStringSubmatch(string(text), -1) {
			parts = append(parts, cmp.Or(m[1], m[0]))
		}
		want := []string{strconv.Itoa(i + 1), "## Decision", "## Why", "## What was tried", "## Cost"}
		if !slices.Equal(parts, want) {
			t.Errorf("%s has the headings %q, want %q", name, parts, want)
		}
	}
}
