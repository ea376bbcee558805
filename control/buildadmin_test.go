package control

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"l4proxy/listen"
)

const adminRest = "\nlisteners: {web: {bind: \"127.0.0.1:80\"}}\npools: {web: {backends: [\"10.0.0.1:80\"]}}\n"

func TestBuildAdmin(t *testing.T) {
	server := names{known: map[string][]string{"admin.test": {"::1", "10.9.9.9"}}}
	if p := plan(t, parse(t, adminRest), nil); p.Admin != nil {
		t.Errorf("without admin: %+v", p.Admin)
	}
	p := plan(t, parse(t, "admin: {bind: \"admin.test:9901\", token: 0123456789abcdefx}"+adminRest), server.lookup).Admin
	if p.Bind.Addr != netip.MustParseAddrPort("10.9.9.9:9901") || p.Bind.Place != "config.yaml:1:15" || p.Access != nil || p.Token != "0123456789abcdefx" {
		t.Errorf("a host name: %+v", p)
	}
	alone, err := PlanAdmin(t.Context(), parse(t, "admin: {bind: \"admin.test:9901\", token: 0123456789abcdefx}"+adminRest), server.lookup)
	if err != nil || !reflect.DeepEqual(alone, p) {
		t.Errorf("by itself: %+v, %v", alone, err)
	}
	p = plan(t, parse(t, "admin: {bind: \"unix:/run/a\"}"+adminRest), nil).Admin
	if p.Bind.Path != "/run/a" || *p.Access != (listen.Access{Mode: 0o600, User: -1, Group: -1}) {
		t.Errorf("a unix socket: %+v, %+v", p, p.Access)
	}
	p = plan(t, parse(t, "admin: {bind: \"unix:/run/a\", mode: \"0660\", owner: \"0:0\"}"+adminRest), nil).Admin
	if *p.Access != (listen.Access{Mode: 0o660}) {
		t.Errorf("a unix socket with mode and owner: %+v", p.Access)
	}
}

// What the names of the admin address do not stand for is an error with its position.
func TestBuildAdminFails(t *testing.T) {
	server := names{known: map[string][]string{"self.test": {"127.0.0.1"}}}
	for text, want := range map[string]string{
		"admin: {bind: \"none.test:9901\", token: 0123456789abcdef}": "config.yaml:1:15: admin address none.test:9901: ",
		"admin: {bind: \"unix:/run/a\", owner: \"no-such-user\"}":    "config.yaml:1:37: admin address: ",
		"admin: {bind: \"self.test:80\", token: 0123456789abcdef}":   "config.yaml:1:15: self.test:80 (127.0.0.1) of the admin address is already taken by the listener \"web\"",
	} {
		cfg := parse(t, text+adminRest)
		_, err := Build(cfg, Gather(t.Context(), cfg, server.lookup))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
}
