package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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
		if _, err := Load(name, nil); err != nil {
			t.Error(err)
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

// Every section has a table with each of its keys and its default, and no
// others.
func TestDocumentedKeys(t *testing.T) {
	docs := readDocs(t)
	for heading, s := range map[string]*section{
		"## The simple form": simpleSection, "### Top level": fullSection,
		"### `log`": logSection, "### `drain`": drainSection,
		"### `listeners.NAME`": listenerSection, "### `listeners.NAME.acl`": ruleSection,
		"### `listeners.NAME.timeouts`": timeoutsSection, "### `pools.NAME`": poolSection,
		"### `pools.NAME.backends`": backendSection, "### `pools.NAME.connect`": connectSection,
	} {
		_, text, ok := strings.Cut(docs, "\n"+heading+"\n")
		if !ok {
			t.Errorf("no heading %q", heading)
			continue
		}
		text, _, _ = strings.Cut(text, "\n##")
		var want []string
		for _, k := range s.keys {
			if k.unsupported {
				continue
			}
			shown := " "
			switch {
			case k.required || s == simpleSection:
				shown = " required "
			case k.schema.Default != nil:
				shown = fmt.Sprintf(" `%v` ", k.schema.Default)
			}
			want = append(want, fmt.Sprintf("| `%s` |%s|", k.name, shown))
		}
		rows := regexp.MustCompile("(?m)^\\| `[^|]*\\|[^|]*\\|").FindAllString(text, -1)
		if got, want := strings.Join(rows, "\n"), strings.Join(want, "\n"); got != want {
			t.Errorf("%s has the rows\n%s\nwant\n%s", heading, got, want)
		}
	}
}

// The documentation names everything that is not supported yet.
func TestDocumentedUnsupported(t *testing.T) {
	_, text, _ := strings.Cut(readDocs(t), "\n### Not supported yet\n")
	text, _, _ = strings.Cut(text, "\n##")
	sections := []*section{fullSection}
	for _, s := range innerSections {
		sections = append(sections, s)
	}
	for _, s := range sections {
		for _, k := range s.keys {
			name := k.name
			if strings.HasSuffix(s.prefix, ".") {
				name = s.path(k.name)
			}
			if k.unsupported && !strings.Contains(text, "`"+name+"`") {
				t.Errorf("%s is not named", name)
			}
		}
	}
	for _, word := range append(denyActions.unsupported, policies.unsupported...) {
		if !strings.Contains(text, word+"`") {
			t.Errorf("%s is not named", word)
		}
	}
}

// examples/full.yaml shows every key that is supported.
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
	root.eachKey(func(key string) { shown[key] = true })
	sections := []*section{fullSection}
	for _, s := range innerSections {
		sections = append(sections, s)
	}
	for _, s := range sections {
		for _, key := range s.names() {
			if !shown[key] {
				t.Errorf("%s is not shown", s.path(key))
			}
		}
	}
}

func (n *node) eachKey(f func(string)) {
	for _, m := range n.members {
		f(m.key)
		m.value.eachKey(f)
	}
	for _, item := range n.items {
		item.eachKey(f)
	}
}
