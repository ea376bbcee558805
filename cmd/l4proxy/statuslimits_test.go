package main

import (
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/testnet"
)

// TestLimitsAreShown: a running proxy with limits of each client and of a pool shows them in its
// status, its metrics and its explanations, and has them after an upgrade.
func TestLimitsAreShown(t *testing.T) {
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	s := newService(t, `
admin: {bind: "unix:$DIR/admin"}
listeners:
  web: {bind: "127.0.0.1:0", per_client: {connections: 1, rate: 2/h, burst: 3}}
pools:
  web: {max_connections: 5, backends: ["`+b.Addr+`"]}
`)
	api, err := client.New("unix:"+s.dir+"/admin", "")
	if err != nil {
		t.Fatal(err)
	}
	explain := func() *admin.Explain {
		t.Helper()
		e, err := api.Explain(t.Context(), admin.ExplainQuery{From: netip.MustParseAddr("127.0.0.1")})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := explain(); e.Outcome != "served" || !slices.Contains(e.Text, "per_client: 127.0.0.1 has 0 connections of 1, and has used 0 of a burst of 3 (rate 2/h)") {
		t.Errorf("%+v", e)
	}
	status, err := api.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	front := status.Listeners[0].Addresses[0]
	served := testnet.Dial(t, "tcp", front)
	if _, err := io.WriteString(served, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(served, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	e := explain()
	if e.Outcome != "denied" || e.Reason != "client_connections" {
		t.Errorf("%+v", e)
	}
	for _, want := range []admin.ExplainLimit{
		{Name: "client", Used: 1, Limit: 1}, {Name: "client_rate", Used: 1, Limit: 3, Room: true}, {Name: "pool", Used: 1, Limit: 5, Room: true},
	} {
		if !slices.Contains(e.Limits, want) {
			t.Errorf("limits %+v, want %+v among them", e.Limits, want)
		}
	}
	if last := e.Text[len(e.Text)-1]; last != "outcome: denied (client_connections): the connection is reset" {
		t.Errorf("%q", last)
	}
	beyond := func() {
		t.Helper()
		c, err := testnet.TryDial("tcp", front)
		if err == nil {
			_, err = io.ReadAll(c)
			c.Close()
		}
		if !testnet.IsReset(err) {
			t.Errorf("a client beyond the limit gets %v", err)
		}
	}
	beyond()
	want := admin.ClientLimits{Connections: 1, Rate: 2.0 / 3600, Burst: 3, Clients: 1, Recent: 1, RefusedConnections: 1}
	if status, err = api.Status(t.Context()); err != nil || *status.Listeners[0].PerClient != want {
		t.Errorf("%+v, %v, want %+v", status.Listeners[0].PerClient, err, want)
	}
	if p := status.Pools[0]; p.Connections != 1 || p.MaxConnections != 5 {
		t.Errorf("the pool has %d connections of %d", p.Connections, p.MaxConnections)
	}
	var text strings.Builder
	if err := printStatus(&text, status, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"LIMIT EACH", "2/h, burst 3", "QUEUED"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the status lacks %q:\n%s", want, text.String())
		}
	}
	s.upgrade()
	beyond()
	s.shows(series{
		`l4proxy_connections_denied_total{listener="web",rule="per_client.connections"}`: 2,
		`l4proxy_connections_denied_total{listener="web",rule="per_client.rate"}`:        0,
		`l4proxy_per_client_clients{listener="web"}`:                                     1,
		`l4proxy_per_client_recent_clients{listener="web"}`:                              0,
		`l4proxy_per_client_unrated_total{listener="web"}`:                               0,
		`l4proxy_pool_connections_active{pool="web"}`:                                    1,
		`l4proxy_pool_max_connections{pool="web"}`:                                       5,
	})
	served.Close()
	s.shows(series{`l4proxy_per_client_clients{listener="web"}`: 0, `l4proxy_pool_connections_active{pool="web"}`: 0})
	s.stop()
}
