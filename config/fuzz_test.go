package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

const fuzzList = "10.0.0.0/8\nnot an address\n"

// FuzzWhere looks up any path, also those that no fault has.
func FuzzWhere(f *testing.F) {
	for _, path := range []string{"", "a.b[1]", `listeners."x.[1]".bind[0]`, "[", `"`, "[9", "]..", "pools[0]", "pools.web.backends[-1]"} {
		f.Add(path)
	}
	c, err := Parse("a.yaml", []byte(fullFile), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if at := c.Where(path); at.Line == 0 {
			t.Errorf("%q is nowhere", path)
		}
	})
}

// FuzzParse holds Parse to what it promises for any input: no panic, the same answer twice,
// problems that lie inside of the file and print on one line, and a configuration that the builder
// can rely on.
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
		if faults := Validate(c); faults != nil {
			t.Errorf("the values are refused: %v", faults)
		}
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
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimPrefix(string(data), string(utf8BOM)))
	lines := strings.Split(text, "\n")
	for _, p := range problems {
		if p.Line == 0 && p.Env == "" && len(data) <= maxYAMLSize && len(problems) <= maxProblems {
			t.Errorf("no position: %v", p)
		}
		if p.File == name && p.Line > 0 && (p.Line > len(lines) || p.Col < 1 || p.Col > utf8.RuneCountInString(lines[p.Line-1])+1) {
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
		checkPool(t, &p)
		if len(p.Backends) == 0 || p.Connect.Timeout <= 0 || p.Connect.Attempts < 1 {
			t.Errorf("an incomplete pool: %+v", p)
		}
		for _, b := range p.Backends {
			if b.MaxConnections < 0 || b.Priority < 0 || b.Priority > maxPriority || b.Backup && b.Priority != 0 || b.Zone != "" && p.Zone == "" {
				t.Errorf("a bad backend: %+v", b)
			}
			if b.Weight < 1 || b.Weight > maxWeight || b.Address.IsUnix() == (b.Address.Port != 0 && (b.Address.Host != "" || b.Address.IP.IsValid())) {
				t.Errorf("a bad backend: %+v", b)
			}
		}
	}
	if len(c.Listeners) == 0 {
		t.Error("no listener")
	}
	for _, l := range c.Listeners {
		if len(l.Binds) == 0 || !pools[l.Pool] && (l.Pool != "" || len(l.Routes) == 0) || l.Timeouts.Idle < 0 || l.Timeouts.HalfClose < 0 {
			t.Errorf("an incomplete listener: %+v", l)
		}
		if !noBackendActions.has(l.WhenNoBackend) || len(l.NoBackendMessage) > maxMessage {
			t.Errorf("a bad answer without a backend: %+v", l)
		}
		if l.ACL == nil {
			continue
		}
		for _, r := range l.ACL.Rules {
			if r.Name == "" || r.Allow && r.With != DenyMessage {
				t.Errorf("an incomplete rule: %+v", r)
			}
			prefixes := r.Prefixes
			for _, l := range r.Lists {
				prefixes = append(prefixes, l.Prefixes...)
			}
			for _, p := range prefixes {
				if !p.IsValid() || p.Masked() != p || p.Addr().Is4In6() {
					t.Errorf("a bad prefix: %v", p)
				}
			}
		}
	}
}

// checkPool holds what the builder relies on of everything but the backends.
func checkPool(t *testing.T, p *Pool) {
	t.Helper()
	bad := !policies.has(p.Policy) || p.Connect.Hedge < 0 || p.Connect.Hedge >= p.Connect.Timeout ||
		p.PanicThreshold < 0 || p.PanicThreshold > maxPanicThreshold || p.SlowStart < 0 || p.Spread < 0 ||
		!liveActions.has(p.OnDown) || !liveActions.has(p.OnRemoved) || !liveActions.has(p.OnRecovered)
	if q := p.Queue; q != nil {
		bad = bad || q.Size < 1 || q.Timeout <= 0
	}
	if o := p.Outlier; o != nil {
		bad = bad || o.Failures < 1 || o.Eject <= 0 || o.MaxEjected < 1 || o.MaxEjected > 100
	}
	if r := p.Rebalance; r != nil {
		bad = bad || r.Rate <= 0 || r.Jitter < 0 || r.Jitter > 100
	}
	if h := p.Hash; h != nil && h.MaxLoad != 0 {
		bad = bad || h.MaxLoad < 101 || p.Policy != SourceHash
	}
	if h := p.Health; h != nil {
		bad = bad || !healthTypes.has(h.Type) || h.Interval <= 0 || h.FastInterval <= 0 || h.FastInterval > h.Interval ||
			h.Timeout <= 0 || h.Jitter < 0 || h.Jitter > maxHealthJitter || h.Rise < 1 || h.Fall < 1 ||
			h.Verify && h.Type != HealthTLS && !h.TLS ||
			(h.Type == HealthHTTP) != (h.Method != "" && strings.HasPrefix(h.Path, "/") && len(h.Status) > 0) ||
			(h.Type == HealthExpect) != (len(h.Script) > 0)
		for _, step := range h.Script {
			bad = bad || (len(step.Send) > 0) == (len(step.Receive) > 0)
		}
	}
	if bad {
		t.Errorf("a bad pool: %+v, health %+v", p, p.Health)
	}
}
