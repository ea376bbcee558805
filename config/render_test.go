package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What JSON writes is a configuration in the full form, and reading it gives the same one.
func TestJSONReadsBack(t *testing.T) {
	for _, name := range append(inputs(t, "good"), "../examples/full.yaml", "../examples/postgres.yaml", "../examples/web.yaml") {
		c, err := Load(name, testEnv)
		if err != nil {
			t.Fatal(err)
		}
		text, err := c.render(false)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `{"allow":[]}`) {
			continue // only the simple form can say that
		}
		again, err := Parse("again.json", text, func(string) (string, bool) { return "", false })
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		for _, of := range []*Config{c, again} {
			of.File, of.Source, of.Warnings = "", nil, nil
		}
		if !reflect.DeepEqual(c, again) {
			t.Errorf("%s: %s\n%s", name, text, cmp.Diff(c, again, cmp.Exporter(func(reflect.Type) bool { return true })))
		}
	}
}

// Secrets are not in it, wherever they came from.
func TestJSONHidesSecrets(t *testing.T) {
	c, err := Parse("c.yaml", []byte(`
admin: {bind: ":9901", token: "${ADMIN_TOKEN}"}
listeners: {web: {bind: ":8080"}}
pools:
  web:
    policy: maglev
    hash: {seed: s3cret-seed}
    health: {type: expect, script: [{send: "AUTH s3cret-word\r\n"}, {receive: "+OK"}]}
    backends: ["127.0.0.1:8081"]
`), testEnv)
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.JSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"0123456789abcdef", "s3cret"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%s is in %s", secret, text)
		}
	}
	if n := strings.Count(string(text), hidden); n != 3 {
		t.Errorf("%d values are hidden in %s", n, text)
	}
}
