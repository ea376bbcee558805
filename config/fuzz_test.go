package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"
)

const fuzzList = "10.0.0.0/8\nnot an address\n"

// FuzzParse holds Parse to what it promises for any input: no panic, the same
// answer twice, problems that lie inside of the file and print on one line, and
// a configuration that the builder can rely on.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"bad", "good", "full"} {
		for _, name := range inputs(f, dir) {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			if len(data) < 10_000 {
				f.Add("config"+filepath.Ext(name), data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		c, err := fuzzParse(name, data)
		again, errAgain := fuzzParse(name, data)
		if !reflect.DeepEqual(c, again) || !reflect.DeepEqual(err, errAgain) {
			t.Fatalf("two answers for one input: %v, %v", err, errAgain)
		}
		if err != nil {
			checkProblems(t, name, data, err)
			return
		}
		checkConfig(t, c)
	})
}

func fuzzParse(name string, data []byte) (*Config, error) {
	d := newDecoder(name, testEnv)
	d.readList = func(name string) ([]byte, error) {
		if strings.Contains(name, "absent") {
			return nil, errors.New("absent")
		}
		return []byte(fuzzList), nil
	}
	return d.parse(data)
}

func checkProblems(t *testing.T, name string, data []byte, err error) {
	t.Helper()
	var problems Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("error %v, want Problems", err)
	}
	widths := lineWidths([]byte(strings.TrimPrefix(string(data), string(utf8BOM))))
	for _, p := range problems {
		if p.Line == 0 && p.Env == "" && len(data) <= maxYAMLSize && len(problems) <= maxProblems {
			t.Errorf("no position: %v", p)
		}
		if p.File == name && p.Line > 0 && (p.Line > len(widths) || p.Col < 1 || p.Col > widths[p.Line-1]+1) {
			t.Errorf("outside of the file: %v", p)
		}
		p.File = ""
		if text := p.Error(); strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || p.Msg == "" {
			t.Errorf("cannot be printed on one line: %q", text)
		}
	}
}

func checkConfig(t *testing.T, c *Config) {
	t.Helper()
	pools := make(map[string]bool)
	for _, p := range c.Pools {
		pools[p.Name] = true
		if len(p.Backends) == 0 || p.Policy == "" || p.Connect.Timeout <= 0 || p.Connect.Attempts < 1 {
			t.Errorf("an incomplete pool: %+v", p)
		}
		for _, b := range p.Backends {
			if b.Weight < 1 || b.Weight > maxWeight || (b.Network == "tcp") != (b.Port != 0 && b.Host != "") || (b.Network == "unix") != (b.Path != "") {
				t.Errorf("a bad backend: %+v", b)
			}
		}
	}
	if len(c.Listeners) == 0 {
		t.Error("no listener")
	}
	for _, l := range c.Listeners {
		if len(l.Binds) == 0 || !pools[l.Pool] || l.Timeouts.Idle < 0 || l.Timeouts.HalfClose < 0 {
			t.Errorf("an incomplete listener: %+v", l)
		}
		if l.ACL == nil {
			continue
		}
		for _, r := range l.ACL.Rules {
			if r.Name == "" || r.Allow != (r.With == "") {
				t.Errorf("an incomplete rule: %+v", r)
			}
			for _, p := range r.Prefixes {
				if !p.IsValid() || p.Masked() != p || p.Addr().Is4In6() {
					t.Errorf("a bad prefix: %v", p)
				}
			}
		}
	}
}
