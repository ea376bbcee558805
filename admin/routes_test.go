package admin

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// docs/api.md has a row for each request, in the order of the table, and for no other.
func TestDocumentedRequests(t *testing.T) {
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z]+ /[^`]*)` \\|").FindAllSubmatch(text, -1) {
		got = append(got, string(m[1]))
	}
	for _, r := range routes {
		want = append(want, r.method+" "+r.pattern)
	}
	if !slices.Equal(got, want) {
		t.Errorf("documented:\n%q\nwant\n%q", got, want)
	}
}
