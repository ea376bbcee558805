package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/testnet"
)

// TestExplainAnswers asks a running proxy about clients of each kind.
func TestExplainAnswers(t *testing.T) {
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	trusted := filepath.Join(t.TempDir(), "trusted.txt")
	if err := os.WriteFile(trusted, []byte("192.0.2.0/24 # the office\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newService(t, fmt.Sprintf(`
admin: {bind: "unix:$DIR/admin"}
listeners:
  web: {bind: "127.0.0.1:0", acl: [{deny: [10.0.0.13], with: reset}, {allow: [%q, 127.0.0.0/8]}], max_connections: 9}
  local: {bind: "unix:$DIR/local", pool: web, acl: [{deny: ["10.0.0.0/8"]}]}
pools:
  web:
    queue: {size: 2, timeout: 1s}
    backends: [%q, {address: "127.0.0.1:1", weight: 2, max_connections: 7}, {address: "127.0.0.1:2", backup: true}]
`, "file:"+trusted, b.Addr))
	api, err := client.New("unix:"+s.dir+"/admin", "")
	if err != nil {
		t.Fatal(err)
	}
	explain := func(listener, from, sni string) *admin.Explain {
		t.Helper()
		q := admin.ExplainQuery{Listener: listener, SNI: sni}
		if from != "" {
			q.From = netip.MustParseAddr(from)
		}
		e, err := api.Explain(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := explain("web", "::ffff:192.0.2.1", "db.example.com")
	if e.Outcome != "served" || e.Client != "192.0.2.1" || e.ACL.Rule != "allow[1]" || e.ACL.Prefix != "192.0.2.0/24" || !strings.HasSuffix(e.ACL.File, "trusted.txt") {
		t.Errorf("%+v", e)
	}
	if !slices.ContainsFunc(e.Text, func(line string) bool {
		return line == "route: what the client sends makes no difference: the listener has no routes"
	}) {
		t.Errorf("%q", e.Text)
	}
	var turns []string
	for _, b := range e.Backends {
		turns = append(turns, fmt.Sprintf("%d %s %s %g", b.Turn, b.Address, b.State, *b.Score))
	}
	if want := []string{"1 127.0.0.1:1 unknown 0.5", "2 " + b.Addr + " unknown 1", "3 127.0.0.1:2 unknown 1"}; !slices.Equal(turns, want) {
		t.Errorf("%q, want %q", turns, want)
	}
	var limits []string
	for _, l := range e.Limits {
		limits = append(limits, fmt.Sprintf("%s %d %t", l.Name, l.Used, l.Room))
	}
	if want := []string{"process 0 true", "shared 0 true", "listener 0 true", "backends 0 true", "queue 0 true"}; !slices.Equal(limits, want) {
		t.Errorf("%q, want %q", limits, want)
	}
	if e := explain("web", "10.0.0.13", ""); e.Outcome != "denied" || e.Reason != "denied" || e.ACL.With != "reset" || e.ACL.Rule != "deny[0]" || len(e.Text) != 5 {
		t.Errorf("%+v", e)
	}
	if e := explain("web", "2001:db8::1", ""); e.Outcome != "denied" || !e.ACL.Default {
		t.Errorf("%+v", e)
	}
	if e := explain("local", "", ""); e.Outcome != "served" || e.Client != "unix" || !e.ACL.Default {
		t.Errorf("%+v", e)
	}
	if _, err := api.Drain(t.Context(), admin.DrainRequest{Listener: "web"}); err != nil {
		t.Fatal(err)
	}
	testnet.Eventually(t, "the listener is closed", func() bool { return explain("web", "192.0.2.1", "").Outcome == "refused" })

	for _, test := range []struct {
		listener, from string
		status         int
		text           string
	}{
		{"wep", "10.0.0.1", 404, "unknown listener wep: there are local, web"},
		{"", "10.0.0.1", 400, "listener is missing: there are local, web"},
		{"web", "", 400, "from is missing: clients of listener web have an address"},
		{"local", "10.0.0.1", 400, "clients of listener local have no address"},
	} {
		q := admin.ExplainQuery{Listener: test.listener}
		if test.from != "" {
			q.From = netip.MustParseAddr(test.from)
		}
		_, err := api.Explain(t.Context(), q)
		if refused := new(admin.Error); !errors.As(err, &refused) || refused.Status != test.status || !strings.HasPrefix(refused.Error(), test.text) {
			t.Errorf("%+v: %v, want %d %s", q, err, test.status, test.text)
		}
	}
	s.stop()
}
