package control

import (
	"net/netip"
	"testing"

	"l4proxy/acl"
	"l4proxy/config"
)

// TestUnchangedListsAreKept: the set of a list is made again only if its content has changed.
func TestUnchangedListsAreKept(t *testing.T) {
	list := func(prefix string) *config.List {
		return &config.List{Name: "a.txt", Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}}
	}
	first := Lists{made: make(map[*config.List]*acl.Set)}
	set := first.of(list("192.0.2.0/24"))
	second := Lists{made: make(map[*config.List]*acl.Set), before: first.made}
	if second.of(list("192.0.2.0/24")) != set {
		t.Error("an equal list has another set")
	}
	changed := second.of(list("192.0.3.0/24"))
	l := acl.Build([]acl.Rule{{Name: "a", Sets: []*acl.Set{changed}}}, true)
	if l.Decide(netip.MustParseAddr("192.0.3.1")).Allow || !l.Decide(netip.MustParseAddr("192.0.2.1")).Allow {
		t.Error("a changed list has the old set")
	}
}
