package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const docsFile = "../docs/configuration.md"

func readDocs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestExamplesLoad(t *testing.T) {
	files, err := filepath.Glob("../examples/*")
	if err != nil {
		t.Fatal(err)
	}
	loaded := 0
	for _, name := range files {
		if filepath.Ext(name) != ".json" && filepath.Ext(name) != ".yaml" {
			continue
		}
		loaded++
		c, err := Load(name, nil)
		if err != nil {
			t.Error(err)
		} else if len(c.Warnings) > 0 {
			t.Errorf("%s: %v", name, c.Warnings)
		}
	}
	if loaded == 0 {
		t.Error("no examples")
	}
}

// Every block of JSON or YAML in the documentation is a configuration.
func TestDocumentedConfigurationsLoad(t *testing.T) {
	blocks := regexp.MustCompile("(?ms)^```(json|yaml)\n(.*?)^```$").FindAllStringSubmatch(readDocs(t), -1)
	if len(blocks) < 3 {
		t.Fatalf("%d blocks, want at least 3", len(blocks))
	}
	for i, block := range blocks {
		// Beside the examples, where the lists that they name are.
		name := fmt.Sprintf("../examples/block%d.%s", i, block[1])
		if _, err := Parse(name, []byte(block[2]), nil); err != nil {
			t.Error(err)
		}
	}
}

// headings are the headings of the reference's tables.
func headings() map[string]fields {
	all := map[string]fields{"## The simple form": newSimple(new(Config)).fields()}
	for at, fs := range sections() {
		heading := "### Top level"
		if at != "" {
			heading = "### `" + at + "`"
		}
		all[heading] = fs
	}
	return all
}

// The reference has a table for each section, as the section's fields say. Run the test with
// -update to write them again.
func TestDocumentedKeys(t *testing.T) {
	docs := readDocs(t)
	table := regexp.MustCompile(`(?m)^\| key \| default \| meaning \|\n\|---\|---\|---\|\n(\|.*\n)*`)
	for heading, fs := range headings() {
		before, after, ok := strings.Cut(docs, "\n"+heading+"\n")
		at := table.FindStringIndex(after)
		if !ok || at == nil {
			t.Errorf("no heading %q with a table", heading)
			continue
		}
		want := reference(fs)
		if got := after[at[0]:at[1]]; got != want && !*update {
			t.Errorf("%s is stale (go test ./config -update writes it):\n%s", heading, cmp.Diff(want, got))
		}
		docs = before + "\n" + heading + "\n" + after[:at[0]] + want + after[at[1]:]
	}
	if *update {
		if err := os.WriteFile(docsFile, []byte(docs), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// reference is the table of a section.
func reference(fs fields) string {
	var b strings.Builder
	b.WriteString("| key | default | meaning |\n|---|---|---|\n")
	for _, f := range fs {
		if _, later := f.value.(unsupported); later {
			continue
		}
		shown := ""
		if _, ok := f.value.(requiredValue); ok {
			shown = " required"
		} else if text := f.value.shown(); text != "" {
			shown = " `" + text + "`"
		}
		fmt.Fprintf(&b, "| `%s` |%s | %s |\n", f.key, shown, f.doc)
	}
	return b.String()
}

// The documentation names everything that is not supported yet.
func TestDocumentedUnsupported(t *testing.T) {
	_, text, _ := strings.Cut(readDocs(t), "\n### Not supported yet\n")
	text, _, _ = strings.Cut(text, "\n##")
	for at, fs := range sections() {
		for _, f := range fs {
			name := f.key
			if at == "listeners.NAME.timeouts" {
				name = "timeouts." + f.key
			}
			if _, later := f.value.(unsupported); later && !strings.Contains(text, "`"+name+"`") {
				t.Errorf("%s of %q is not named", f.key, at)
			}
		}
	}
	for _, word := range slices.Concat(denyActions.unsupported, policies.unsupported) {
		if !strings.Contains(text, word+"`") {
			t.Errorf("%s is not named", word)
		}
	}
}

// examples/full.yaml shows every key that is supported, and every word of a
// closed list.
func TestFullExampleIsComplete(t *testing.T) {
	const name = "../examples/full.yaml"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	root, p := readYAML(name, data)
	if p != nil {
		t.Fatal(p)
	}
	shown := make(map[string]bool)
	showKeys(root, "", new(Config).fields(), shown)
	for at, fs := range sections() {
		for _, key := range fs.keys() {
			if !shown[at+"."+key] {
				t.Errorf("%s does not show %s of %q", name, key, at)
			}
		}
	}
	for _, words := range [][]string{
		logLevels.texts(), logFormats.texts(), engines.texts(), policies.texts(), denyActions.texts(), noBackendActions.texts(),
		liveActions.texts(), healthTypes.texts(), families.texts(),
	} {
		for _, word := range words {
			if !regexp.MustCompile(`\b` + word + `\b`).Match(data) {
				t.Errorf("%s does not show the word %s", name, word)
			}
		}
	}
}

// showKeys notes the keys that n has, and those of the mappings within.
func showKeys(n *node, at string, fs fields, shown map[string]bool) {
	for _, m := range n.members {
		f := fs.find(m.key)
		if f == nil {
			continue
		}
		shown[at+"."+m.key] = true
		suffix, inner := innerOf(f.value)
		within := append([]*node{m.value}, m.value.items...)
		if suffix != "" {
			within = nil
			for _, named := range m.value.members {
				within = append(within, named.value)
			}
		}
		for _, n := range within {
			showKeys(n, strings.TrimPrefix(at+"."+m.key+suffix, "."), inner, shown)
		}
	}
}

// JSON and YAML are two ways to write the same: the full example, written as
// JSON, is the same configuration.
func TestFullExampleInJSON(t *testing.T) {
	want, err := Load("../examples/full.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(plain(t, "../examples/full.yaml"), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("../examples/full.json", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	byName := func(a, b Pool) int { return strings.Compare(a.Name, b.Name) } // encoding/json sorts the keys
	slices.SortFunc(want.Pools, byName)
	slices.SortFunc(want.Listeners, func(a, b Listener) int { return strings.Compare(a.Name, b.Name) })
	got.File = want.File
	if diff := cmp.Diff(show(want), show(got)); diff != "" {
		t.Errorf("configuration (-yaml +json):\n%s", diff)
	}
}
