package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// atMost fails when f uses more CPU time than limit. The limits are about ten times the measured
// time, so that only a change in the order of growth fails. The time of the clock would count what
// other programs do on a busy machine.
func atMost(t *testing.T, limit time.Duration, f func()) {
	t.Helper()
	start := cpuTime(t)
	f()
	if took := cpuTime(t) - start; took > limit {
		t.Errorf("took %v of CPU time, want less than %v", took, limit)
	}
}

// cpuTime is what this process has used so far.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// manyBackends is a configuration with n backends in one pool.
func manyBackends(n int) (yaml, json string) {
	var y, j strings.Builder
	y.WriteString("listeners: {web: {bind: \":80\"}}\npools:\n  web:\n    backends:\n")
	j.WriteString(`{"listeners": {"web": {"bind": ":80"}}, "pools": {"web": {"backends": [`)
	for i := range n {
		fmt.Fprintf(&y, "      - {address: \"10.0.%d.%d:80\", weight: %d}\n", i/256, i%256, 1+i%1000)
		if i > 0 {
			j.WriteString(",")
		}
		fmt.Fprintf(&j, `{"address": "10.0.%d.%d:80", "weight": %d}`, i/256, i%256, 1+i%1000)
	}
	j.WriteString("]}}}")
	return y.String(), j.String()
}

// manyAddresses is manyBackends with nothing but the addresses.
func manyAddresses(n int) (yaml, json string) {
	var y, j strings.Builder
	y.WriteString("listeners: {web: {bind: \":80\"}}\npools:\n  web:\n    backends:\n")
	j.WriteString(`{"listeners": {"web": {"bind": ":80"}}, "pools": {"web": {"backends": [`)
	for i := range n {
		fmt.Fprintf(&y, "      - \"10.0.%d.%d:80\"\n", i/256, i%256)
		if i > 0 {
			j.WriteString(",")
		}
		fmt.Fprintf(&j, `"10.0.%d.%d:80"`, i/256, i%256)
	}
	j.WriteString("]}}}")
	return y.String(), j.String()
}

func TestTenThousandBackends(t *testing.T) {
	const n = 10_000 / slowdown
	yaml, json := manyBackends(n)
	plainYAML, plainJSON := manyAddresses(n)
	for name, text := range map[string]string{"many.yaml": yaml, "many.json": json, "plain.yaml": plainYAML, "plain.json": plainJSON} {
		t.Run(name, func(t *testing.T) {
			atMost(t, time.Second, func() {
				c, err := Parse(name, []byte(text), nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := len(c.Pools[0].Backends); got != n {
					t.Errorf("%d backends, want %d", got, n)
				}
			})
		})
	}
}

// Ten thousand listeners that each name a pool that is not there among ten thousand that are: no
// check may compare each with each.
func TestTenThousandMistakes(t *testing.T) {
	const n = 10_000 / slowdown
	var b strings.Builder
	b.WriteString("listeners:\n")
	for i := range n {
		fmt.Fprintf(&b, "  l%d: {bind: \"127.0.0.1:%d\", pool: no%d, wrong: 1}\n", i, 1000+i, i)
	}
	b.WriteString("pools:\n")
	for i := range n {
		fmt.Fprintf(&b, "  p%d: {backends: [\"h:1\"]}\n", i)
	}
	atMost(t, 3*time.Second, func() {
		_, err := Parse("many.yaml", []byte(b.String()), nil)
		var problems Problems
		if !errors.As(err, &problems) || len(problems) != maxProblems+1 {
			t.Fatalf("%d problems, want %d and a count", len(problems), maxProblems)
		}
		last, want := problems[maxProblems].Error(), fmt.Sprintf("many.yaml: %d more problems", 2*n-maxProblems)
		if last != want {
			t.Errorf("the last is %q, want %q", last, want)
		}
	})
}

func TestMillionAddresses(t *testing.T) {
	const n = 1_000_000 / slowdown
	dir := t.TempDir()
	list := make([]byte, 0, 16*n)
	for i := range n {
		list = fmt.Appendf(list, "10.%d.%d.%d/32\n", i>>16, i>>8&255, i&255)
	}
	if err := os.WriteFile(filepath.Join(dir, "list.txt"), list, 0o644); err != nil {
		t.Fatal(err)
	}
	main := `{"listeners": {"web": {"bind": ":80", "acl": [{"allow": "file:list.txt"}, {"deny": ["file:list.txt"]}]}},
		"pools": {"web": {"backends": ["h:1"]}}}`
	atMost(t, 2*time.Second, func() {
		c, err := Parse(filepath.Join(dir, "config.json"), []byte(main), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range c.Listeners[0].ACL.Rules {
			if got := r.Count(); got != n {
				t.Errorf("%s has %d prefixes, want %d", r.Name, got, n)
			}
		}
	})
}

func TestSizeLimits(t *testing.T) {
	space := strings.Repeat(" ", maxFileSize)
	for name, tt := range map[string]struct{ data, want string }{
		"big.json": {"{" + space + "}", `big.json: larger than 64 MiB: move long address lists to files ("file:trusted.txt")`},
		"big.yaml": {"a: b" + space[:maxYAMLSize], `big.yaml: larger than 8 MiB, the limit for YAML: write it as JSON, or move long address lists to files ("file:trusted.txt")`},
	} {
		_, err := Parse(name, []byte(tt.data), nil)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: error %v, want %s", name, err, tt.want)
		}
	}
}
