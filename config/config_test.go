package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestDefaultAllow(t *testing.T) {
	allow, deny := Rule{Allow: true}, Rule{}
	for name, tt := range map[string]struct {
		acl  *ACL
		want bool
	}{
		"no list":             {nil, true},
		"empty list":          {&ACL{}, true},
		"deny rules":          {&ACL{Rules: []Rule{deny, deny}}, true},
		"an allow rule":       {&ACL{Rules: []Rule{deny, allow}}, false},
		"an empty allow rule": {&ACL{Rules: []Rule{{Allow: true}}}, false},
	} {
		if got := tt.acl.DefaultAllow(); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestDefaultDenyMessage(t *testing.T) {
	if got := len(DefaultDenyMessage); got != 40 {
		t.Errorf("%d bytes, want 40", got)
	}
}

func TestPositionString(t *testing.T) {
	for want, p := range map[string]Position{
		"": {}, "a.yaml:3:7": {File: "a.yaml", Line: 3, Col: 7}, "a.yaml": {File: "a.yaml"}, "$NAME": {Env: "NAME"},
	} {
		if got := p.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBindString(t *testing.T) {
	for want, b := range map[string]Bind{
		"127.0.0.1:80":        {Address: Address{IP: netip.MustParseAddr("127.0.0.1"), Port: 80}},
		"[::1]:0":             {Address: Address{IP: netip.MustParseAddr("::1")}},
		":80":                 {Address: Address{Port: 80}},
		"unix:/run/x":         {Address: Address{Path: "/run/x"}},
		"unix:@front":         {Address: Address{Path: "@front"}},
		"[fe80::1%lo]:80":     {Address: Address{IP: netip.MustParseAddr("fe80::1%lo"), Port: 80}},
		"localhost:8000-8010": {Address: Address{Host: "localhost", Port: 8000}, Last: 8010},
	} {
		if got := b.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if again, f := parseBind(want); f != nil || again != b {
			t.Errorf("parseBind(%q) = %v, %v; want %+v", want, again, f, b)
		}
	}
}

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	absent := filepath.Join(dir, "absent.json")
	for name, want := range map[string]string{
		absent: absent + ": cannot read the configuration: no such file or directory: name another file with -c, or set LISTENER_PORT, BACKEND_PORTS and ACCESS_CONTROL_LIST",
		dir:    dir + ": cannot read the configuration: is a directory",
	} {
		if _, err := Load(name, nil); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// Paths of lists are relative to the configuration file, or absolute.
func TestListPaths(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list.txt")
	if err := os.WriteFile(list, []byte("\xef\xbb\xbf# comment\r\n10.0.0.1 # one\r\n\r\n\t10.1.0.0/16\t"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"list.txt", "./list.txt", list} {
		text := `{"listeners": {"a": {"bind": ":80", "acl": [{"allow": ["file:` + name + `"]}]}}, "pools": {"p": {"backends": ["h:1"]}}}`
		c, err := Parse(filepath.Join(dir, "config.json"), []byte(text), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := c.Listeners[0].ACL.Rules[0].Lists[0].Prefixes
		if len(got) != 2 || got[0].String() != "10.0.0.1/32" || got[1].String() != "10.1.0.0/16" {
			t.Errorf("%s: %v, want 10.0.0.1/32 and 10.1.0.0/16", name, got)
		}
	}
}

func TestSuggest(t *testing.T) {
	keys := new(Config).fields().keys()
	for word, want := range map[string]string{
		"listener": "listeners", "Listeners": "listeners", "lsiteners": "listeners", "worker": "workers",
		"max-connections": "max_connections", "pool": "pools", "x": "", "": "", "timeouts": "",
	} {
		if got := suggest(word, keys); got != want {
			t.Errorf("suggest(%q) = %q, want %q", word, got, want)
		}
	}
}

// A colon without a space behind it is part of a plain value, also in a list inside of a mapping on
// one line.
func TestAddressesInFlowStyle(t *testing.T) {
	const text = `
listeners: {web: {bind: [127.0.0.1:80, localhost:8000-8001], pool: p}}
pools: {p: {backends: [10.0.0.5:5432, db:5432, {address: 10.0.0.6:5432, weight: 2}, "10.0.0.7:5432"]}}
`
	c, err := Parse("flow.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range c.Pools[0].Backends {
		got = append(got, b.Address.String())
	}
	if want := []string{"10.0.0.5:5432", "db:5432", "10.0.0.6:5432", "10.0.0.7:5432"}; !slices.Equal(got, want) {
		t.Errorf("backends %q, want %q", got, want)
	}
	if _, err := Parse("flow.yaml", []byte("listeners: {web: {bind: [{a: 80}, {b:80}, b: 80]}}"), nil); err == nil {
		t.Error("mappings were taken for addresses")
	}
}
