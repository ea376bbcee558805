package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
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
	headings := map[string]*section{
		"## The simple form": simpleSection, "### Top level": fullSection,
		"### `log`": logSection, "### `drain`": drainSection,
		"### `listeners.NAME`": listenerSection, "### `listeners.NAME.acl`": ruleSection,
		"### `listeners.NAME.timeouts`": timeoutsSection, "### `pools.NAME`": poolSection,
		"### `pools.NAME.backends`": backendSection, "### `pools.NAME.connect`": connectSection,
		"### `pools.NAME.health`": healthSection, "### `pools.NAME.health.script`": stepSection,
		"### `pools.NAME.outlier`": outlierSection, "### `pools.NAME.queue`": queueSection,
		"### `pools.NAME.hash`": hashSection, "### `pools.NAME.rebalance`": rebalanceSection,
	}
	if got, want := len(headings), len(innerSections)+2; got != want {
		t.Errorf("%d sections are looked for, there are %d", got, want)
	}
	for heading, s := range headings {
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

// examples/full.yaml and full.json show every key that is supported, and every
// word of a closed list.
func TestFullExamplesAreComplete(t *testing.T) {
	for name, read := range map[string]func(string, []byte) (*node, *Problem){
		"../examples/full.yaml": readYAML, "../examples/full.json": readJSON,
	} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		root, p := read(name, data)
		if p != nil {
			t.Fatal(p)
		}
		shown := make(map[*key]bool)
		fullSection.eachKey(root, func(k *key) { shown[k] = true })
		sections := []*section{fullSection}
		for _, s := range innerSections {
			sections = append(sections, s)
		}
		for _, s := range sections {
			for i := range s.keys {
				if k := &s.keys[i]; !k.unsupported && !shown[k] {
					t.Errorf("%s does not show %s", name, s.path(k.name))
				}
			}
		}
	}
	// The words are explained in comments, which JSON has not.
	data, err := os.ReadFile("../examples/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*choice{logLevels, logFormats, engines, policies, denyActions, noBackendActions, liveActions, healthTypes} {
		for _, word := range c.values {
			if !regexp.MustCompile(`\b` + word + `\b`).Match(data) {
				t.Errorf("full.yaml does not show the %s %s", c.what, word)
			}
		}
	}
}

// eachKey calls f with every key of the section that n has, and with those of
// the sections within, which the schema refers to.
func (s *section) eachKey(n *node, f func(*key)) {
	for _, m := range n.members {
		k := s.key(m.key)
		if k == nil {
			continue
		}
		f(k)
		inner := referred(k.schema)
		if inner == nil {
			continue
		}
		within := append([]*node{m.value}, m.value.items...)
		if k.schema.AdditionalProperties != nil { // a mapping from names
			within = nil
			for _, named := range m.value.members {
				within = append(within, named.value)
			}
		}
		for _, n := range within {
			inner.eachKey(n, f)
		}
	}
}

// referred is the section that a key's schema refers to, at any depth.
func referred(schema *jsonschema.Schema) *section {
	if schema == nil {
		return nil
	}
	if s := innerSections[strings.TrimPrefix(schema.Ref, "#/$defs/")]; s != nil {
		return s
	}
	for _, inner := range append([]*jsonschema.Schema{schema.Items, schema.AdditionalProperties}, schema.AnyOf...) {
		if s := referred(inner); s != nil {
			return s
		}
	}
	return nil
}
