package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// checkAddresses returns what CheckAddresses reports for a file that Load accepts.
func checkAddresses(t *testing.T, text string, local ...string) string {
	t.Helper()
	c, err := Parse("a.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	var here Machine
	for _, a := range local {
		here.Addresses = append(here.Addresses, netip.MustParseAddr(a))
	}
	return c.Locate(CheckAddresses(c, here)).Error()
}

// A backend on an address of this machine is the proxy itself if a listener binds all addresses,
// and only then.
func TestLoopsThroughLocalAddresses(t *testing.T) {
	const backends = `["10.0.0.9:80", "[fd00::9]:80", "[fe80::9%eth0]:80", "10.0.0.8:80", "10.0.0.9:81"]`
	const itself = `a.yaml:2:%d: the backend %s is the proxy itself: the pool "a" leads back to it through %s of its listener "a" (line 1): ` +
		"write the address of a server, or remove it"
	four, six, link := `10.0.0.9:80`, `[fd00::9]:80`, `[fe80::9%eth0]:80`
	cols := map[string]int{four: 24, six: 39, link: 55}
	for bind, backs := range map[string][]string{
		":80": {four, six, link}, "0.0.0.0:80": {four}, "[::]:80": {four, six, link},
		"10.0.0.7:80": nil, ":82": nil,
	} {
		text := fmt.Sprintf("listeners: {a: {bind: %q}}\npools: {a: {backends: %s}}\n", bind, backends)
		var want []string
		for _, b := range backs {
			want = append(want, fmt.Sprintf(itself, cols[b], b, bind))
		}
		got := checkAddresses(t, text, "127.0.0.1", "10.0.0.9", "fd00::9", "fe80::9%eth0")
		if got != strings.Join(want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", bind, got, strings.Join(want, "\n"))
		}
	}
}

// Thousands of listeners whose pools form one long chain are checked without comparing every pair.
func TestManyAddressesAreCheckedQuickly(t *testing.T) {
	const n = 4_000 / slowdown
	var b strings.Builder
	b.WriteString("listeners:\n")
	for i := range n {
		fmt.Fprintf(&b, "  l%d: {bind: [\"127.0.%d.%d:80\", \"127.0.0.1:%d\"], pool: p%d}\n", i, 1+i/256, i%256, 1000+i, i)
	}
	b.WriteString("  all: {bind: \"0.0.0.0:80\", pool: p0}\n")
	b.WriteString("  range: {bind: \"[::]:1000-65000\", pool: p0}\n")
	b.WriteString("pools:\n")
	for i := range n {
		fmt.Fprintf(&b, "  p%d: {backends: [\"127.0.0.1:%d\"]}\n", i, 1000+(i+1)%n)
	}
	atMost(t, 3*time.Second, func() {
		_, err := Parse("many.yaml", []byte(b.String()), nil)
		var problems Problems
		if !errors.As(err, &problems) || len(problems) != 3 { // one overlap each, and where the chain closes
			t.Fatalf("%d problems, want 3: %v", len(problems), err)
		}
	})
}
