package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/testnet"
)

// TestExplainRoutes asks a running proxy which route takes which client.
func TestExplainRoutes(t *testing.T) {
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	s := newService(t, fmt.Sprintf(`
admin: {bind: "unix:$DIR/admin"}
listeners:
  tls:
    bind: "127.0.0.1:0"
    routes:
      - {sni: "*.example.com", pool: web}
      - {sni: db.example.com, pool: db}
      - {alpn: postgresql, pool: db}
      - {tls: false, pool: web}
  other:
    bind: "127.0.0.1:0"
    pool: web
    routes: [{sni: db.example.com, pool: db}]
pools:
  web: {backends: [%q]}
  db: {backends: [%q]}
`, b.Addr, b.Addr))
	api, err := client.New("unix:"+s.dir+"/admin", "")
	if err != nil {
		t.Fatal(err)
	}
	no := false
	for _, test := range []struct {
		listener, sni, alpn string
		tls                 *bool
		want                string // route, pool, outcome
		text                string
	}{
		{"tls", "DB.example.com.", "", nil, "1 db served", "with the server name db.example.com and no ALPN, routes[1] takes it (sni db.example.com)"},
		{"tls", "www.example.com", "h2,postgresql", nil, "0 web served", "and ALPN h2, postgresql, routes[0] takes it (sni *.example.com)"},
		{"tls", "example.com", "h2,postgresql", nil, "2 db served", "routes[2] takes it (alpn postgresql)"},
		{"tls", "", "", &no, "3 web served", "with no TLS, routes[3] takes it (no TLS)"},
		{"tls", "", "", nil, "-  refused", "with no server name and no ALPN, no route takes it, and the listener has no pool for others"},
		{"other", "www.example.com", "", nil, "- web served", "no route takes it, so the pool of the listener does"},
	} {
		e, err := api.Explain(t.Context(), admin.ExplainQuery{
			Listener: test.listener, From: netip.MustParseAddr("127.0.0.1"), SNI: test.sni, ALPN: test.alpn, TLS: test.tls,
		})
		if err != nil {
			t.Fatal(err)
		}
		route := "-"
		if e.Route != nil {
			route = fmt.Sprint(e.Route.Index)
		}
		if got := route + " " + e.Pool + " " + e.Outcome; got != test.want || !e.ReadsHello {
			t.Errorf("%+v: %q, want %q", test, got, test.want)
		}
		if !slices.ContainsFunc(e.Text, func(line string) bool { return strings.HasSuffix(line, test.text) }) {
			t.Errorf("%q misses %q", e.Text, test.text)
		}
		if e.Outcome == "refused" && (e.Reason != "no_route" || !strings.Contains(e.Text[len(e.Text)-1], "unrecognized_name")) {
			t.Errorf("%+v", e)
		}
	}
	for _, q := range []admin.ExplainQuery{
		{SNI: "192.0.2.1"}, {SNI: "*.example.com"}, {SNI: "a.example", TLS: &no}, {ALPN: "h2", TLS: &no},
	} {
		q.Listener, q.From = "tls", netip.MustParseAddr("127.0.0.1")
		_, err := api.Explain(t.Context(), q)
		if refused := new(admin.Error); !errors.As(err, &refused) || refused.Status != 400 {
			t.Errorf("%+v: %v, want 400", q, err)
		}
	}
	all, err := api.Listeners(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := all[0].Pools(); all[0].Pool != "" || !slices.Equal(got, []string{"web", "db"}) || all[0].Routes[0].Clients != "sni *.example.com" {
		t.Errorf("%+v", all[0])
	}
	if got := all[1].Pools(); !slices.Equal(got, []string{"web", "db"}) || all[1].Pool != "web" {
		t.Errorf("%+v", all[1])
	}
	s.stop()
}
