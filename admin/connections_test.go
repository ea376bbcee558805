package admin_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"l4proxy/admin"
)

// withConnections lists and kills connections by a fake.
func withConnections(s *fake) func(*admin.Options) {
	return func(o *admin.Options) {
		o.Queries.Connections = func(ctx context.Context, q admin.ConnectionQuery) (*admin.ConnectionPage, error) {
			page := &admin.ConnectionPage{Total: 9, Matched: 2, Next: "n", Connections: []admin.Connection{{ID: "0-1-2", ClientTCP: &admin.TCPInfo{RTT: 0.5}}}}
			return page, s.note(ctx, q)
		}
		o.Commands.Kill = func(ctx context.Context, r admin.KillRequest) (*admin.Kill, error) {
			return &admin.Kill{Matched: 3, Killed: 3, Sample: []admin.Connection{}}, s.note(ctx, r)
		}
	}
}

// What a client asks for arrives, and the answer comes back.
func TestConnectionsArrive(t *testing.T) {
	networks(t, func(t *testing.T, network string) {
		asked := new(fake)
		s := serve(t, network, withConnections(asked))
		check := func(err error, want any) {
			t.Helper()
			if got := asked.taken(); err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
				t.Errorf("the proxy got %+v, %v, want %+v", got, err, want)
			}
		}
		filter := admin.ConnectionFilter{
			Listener: "web", Pool: "a b&c", Backend: "unix:/run/x", From: admin.Prefix{Prefix: netip.MustParsePrefix("10.1.0.0/16")},
			OlderThan: admin.Duration(time.Minute), Idle: admin.Duration(5 * time.Second),
		}
		page, err := s.client("").Connections(t.Context(), admin.ConnectionQuery{ConnectionFilter: filter, Sort: "rate", Limit: 5, After: "x"})
		check(err, admin.ConnectionQuery{ConnectionFilter: filter, Sort: "rate", Limit: 5, After: "x"})
		if page == nil || page.Total != 9 || page.Next != "n" || page.Connections[0].ClientTCP.RTT != 0.5 {
			t.Errorf("page %+v", page)
		}
		_, err = s.client("").Connections(t.Context(), admin.ConnectionQuery{})
		check(err, admin.ConnectionQuery{Sort: "age", Limit: 100})
		killed, err := s.client("").Kill(t.Context(), admin.KillRequest{ConnectionFilter: filter, Rate: "50/s", DryRun: true})
		check(err, admin.KillRequest{ConnectionFilter: filter, Rate: "50/s", DryRun: true})
		if killed == nil || killed.Matched != 3 {
			t.Errorf("kill %+v", killed)
		}
		_, err = s.client("").Kill(t.Context(), admin.KillRequest{All: true})
		check(err, admin.KillRequest{All: true})
		code, _, body := s.do(request{method: "DELETE", path: "/api/v1/connections?from=10.1.2.3&older_than=1m&dry_run=true"})
		want := admin.KillRequest{DryRun: true}
		want.From, want.OlderThan = admin.Prefix{Prefix: netip.MustParsePrefix("10.1.2.3/32")}, admin.Duration(time.Minute)
		check(nil, want)
		if code != http.StatusOK || !json.Valid([]byte(body)) {
			t.Errorf("%d %s", code, body)
		}
	})
}

// A request that is wrong does not arrive, and the answer says what to write instead.
func TestConnectionsChecked(t *testing.T) {
	asked := new(fake)
	s := serve(t, "tcp", withConnections(asked))
	for query, want := range map[string]string{
		"GET sort=age2":             `unknown order \"age2\"`,
		"GET limit=-1":              "the limit -1 is not from 1 to 1000",
		"GET limit=1001":            "the limit 1001 is not from 1 to 1000",
		"GET limit=x":               `expected a whole number for \"limit\", got a string`,
		"GET limit=1.5":             `expected a whole number for \"limit\"`,
		"GET idle=-1s":              "idle is negative",
		"GET idle=5":                `\"5\" is not a duration such as`,
		"GET older_than=-1ns":       "older_than is negative",
		"GET from=10.1":             `\"10.1\" is not an address or a prefix such as 10.1.2.3`,
		"GET from=fe80::1%25eth0":   "is not an address or a prefix",
		"GET from=true":             "for",
		"GET listener=":             `\"listener\" is \"\"`,
		"GET id=1":                  `unknown key \"id\"`,
		"DELETE ":                   "nothing selects the connections to end",
		"DELETE idle=0s":            "nothing selects the connections to end",
		"DELETE dry_run=true":       "or all=true for all connections",
		"DELETE rate=5%2Fs":         "nothing selects the connections to end",
		"DELETE all=true&rate=5":    `\"5\" is not a rate`,
		"DELETE all=true&rate=0/s":  `write a number per second, minute or hour, such as \"50/s\"`,
		"DELETE all=true&rate=-5/s": "is not a rate",
		"DELETE all=true&rate=5/d":  "is not a rate",
		"DELETE all=yes":            `expected true or false for \"all\"`,
		"DELETE listener=":          `\"listener\" is \"\"`,
		"DELETE sort=age&all=true":  `unknown key \"sort\"`,
	} {
		method, query, _ := strings.Cut(query, " ")
		code, _, body := s.do(request{method: method, path: "/api/v1/connections?" + query})
		if code != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%s %s: %d %s, want %s", method, query, code, body, want)
		}
	}
	if got := asked.taken(); got != nil {
		t.Errorf("the proxy got %+v", got)
	}
	s.stop() // before the next one counts descriptors
	if code, _, _ := serve(t, "tcp").do(request{method: "GET", path: "/api/v1/connections"}); code != http.StatusNotImplemented {
		t.Errorf("without connections: %d", code)
	}
}

func TestPrefix(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.2.3": "10.1.2.3", "10.1.2.3/16": "10.1.0.0/16", "10.1.2.3/32": "10.1.2.3", "::1": "::1", "2001:db8::1/32": "2001:db8::/32",
		"::ffff:1.2.3.4": "::ffff:1.2.3.4", "0.0.0.0/0": "0.0.0.0/0",
	} {
		p, err := admin.ParsePrefix(text)
		if err != nil || p.String() != want || p.IsZero() {
			t.Errorf("%s: %s, %v, want %s", text, p, err, want)
		}
		again, err := admin.ParsePrefix(p.String())
		if err != nil || again != p {
			t.Errorf("%s is read as %s, %v", p, again, err)
		}
	}
	for _, wrong := range []string{"", "x", "10.1.2", "10.1.2.3/33", "10.1.2.3/", "/8", "fe80::1%eth0", "fe80::%eth0/64", "1.2.3.4:80"} {
		if p, err := admin.ParsePrefix(wrong); err == nil {
			t.Errorf("%q: %s", wrong, p)
		}
	}
	if text, err := json.Marshal(admin.ConnectionFilter{}); err != nil || string(text) != "{}" {
		t.Errorf("%s, %v", text, err)
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]float64{"": 0, "50/s": 50, "30/m": 0.5, "36/h": 0.01} {
		if got, err := admin.ParseRate(text); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, wrong := range []string{"50", "/s", "0/s", "-1/s", "1.5/s", "1/ms", "1/s/s", " 1/s", "1e3/s", "99999999999/s", "NaN/s"} {
		if got, err := admin.ParseRate(wrong); err == nil {
			t.Errorf("%q: %v", wrong, got)
		}
	}
}
