package metrics

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table in docs/metrics.md")

// TestDocumented holds the table in docs/metrics.md to the list.
func TestDocumented(t *testing.T) {
	const file, begin, end = "../docs/metrics.md", "<!-- metrics: written by go test ./metrics -update -->\n", "<!-- end of metrics -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(begin))
	_, after, ended := bytes.Cut(rest, []byte(end))
	if !ok || !ended {
		t.Fatalf("%s lacks the comments around the table", file)
	}
	want := slices.Concat(before, []byte(begin), []byte(table()), []byte(end), after)
	if bytes.Equal(text, want) {
		return
	}
	if !*update {
		t.Fatalf("the table in %s is not that of the list: run go test ./metrics -update", file)
	}
	if err := os.WriteFile(file, want, 0o644); err != nil {
		t.Fatal(err)
	}
}

// table is the list as a table in Markdown.
func table() string {
	var b strings.Builder
	b.WriteString("| name | type | labels | meaning |\n|---|---|---|---|\n")
	for _, d := range list {
		labels := make([]string, len(d.labels))
		for i, l := range d.labels {
			labels[i] = "`" + l + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.name, strings.ToLower(d.kind.String()), strings.Join(labels, ", "), d.help)
	}
	return b.String()
}
