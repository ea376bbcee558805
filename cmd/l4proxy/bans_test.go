package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/testnet"
)

// mustPrefix is a prefix for requests.
func mustPrefix(text string) admin.Prefix { return admin.Prefix{Prefix: netip.MustParsePrefix(text)} }

// bansService is a proxy with a file of bans and databases, and a client of its API.
func bansService(t *testing.T) (*service, *client.Client) {
	t.Helper()
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	geo, err := filepath.Abs("../../geo/testdata")
	if err != nil {
		t.Fatal(err)
	}
	s := newService(t, fmt.Sprintf(`
admin: {bind: "unix:$DIR/admin"}
bans: {file: "$DIR/bans", with: close}
geo: {country: %q, asn: %q}
listeners: {web: {bind: "127.0.0.1:%d", acl: [{deny: {geo: {country: KP}}, with: close}, {deny: {geo: {asn: 64513}}}]}}
pools: {web: {backends: [%q]}}
drain: {timeout: 1s}
`, geo+"/country.mmdb", geo+"/asn.mmdb", freePort(t), b.Addr))
	api, err := client.New("unix:"+s.dir+"/admin", "")
	if err != nil {
		t.Fatal(err)
	}
	return s, api
}

// turnedAway reports whether a client of an address gets nothing but the end.
func turnedAway(t *testing.T, from, to string) bool {
	t.Helper()
	c := testnet.DialFrom(t, from, to)
	defer c.Close()
	_, _ = io.WriteString(c, "x")
	n, _ := c.Read(make([]byte, 1))
	return n == 0
}

func TestBansOutliveUpgradesAndRestarts(t *testing.T) {
	s, api := bansService(t)
	banned, err := api.Ban(t.Context(), admin.BanRequest{Prefix: mustPrefix("127.0.0.5/32"), For: new(admin.Duration(time.Hour)), Reason: "<script>"})
	if err != nil || banned.Added != 1 || strings.Join(banned.Survives, " ") != "reload upgrade restart" || len(banned.Warnings) != 1 {
		t.Fatalf("%+v, %v", banned, err)
	}
	check := func(when string) {
		t.Helper()
		web := s.address("web")
		if !turnedAway(t, "127.0.0.5", web) || turnedAway(t, "127.0.0.6", web) {
			t.Errorf("%s: the banned client is served, or another is not", when)
		}
		e, err := api.Explain(t.Context(), admin.ExplainQuery{From: netip.MustParseAddr("127.0.0.5")})
		if err != nil || e.Reason != "banned" || e.Ban == nil || e.Ban.Reason != "<script>" || e.Ban.Left < 3500 || e.Outcome != "denied" {
			t.Errorf("%s: explained as %+v, %v", when, e, err)
		}
	}
	check("set")
	s.upgrade()
	check("after an upgrade")
	if _, err := api.Ban(t.Context(), admin.BanRequest{Prefix: mustPrefix("2001:db8::/32")}); err != nil {
		t.Fatal(err)
	}
	s.stop()
	s.start()
	s.waitFor(`"msg":"bans loaded".*"bans":2`)
	check("after a restart")
	if _, err := api.Unban(t.Context(), admin.UnbanRequest{Prefix: mustPrefix("127.0.0.5/32")}); err != nil {
		t.Fatal(err)
	}
	if turnedAway(t, "127.0.0.5", s.address("web")) {
		t.Error("banned after the ban was removed")
	}
	if s.count(`"msg":"address banned".*"prefix":"127.0.0.5","for":"1h0m0s"`) != 1 || s.count(`"msg":"ban removed"`) != 1 {
		t.Error("the log does not say who was banned")
	}
}

func TestRulesAboutCountriesAndNetworks(t *testing.T) {
	s, api := bansService(t)
	web := s.address("web")
	if !turnedAway(t, "127.0.0.2", web) || turnedAway(t, "127.0.0.3", web) || turnedAway(t, "127.0.0.4", web) {
		t.Error("not exactly the client from KP is denied")
	}
	e, err := api.Explain(t.Context(), admin.ExplainQuery{From: netip.MustParseAddr("127.0.0.2")})
	if err != nil || e.ACL.Rule != "deny[0]" || e.ACL.Country != "KP" || e.ACL.Prefix != "" || !strings.Contains(strings.Join(e.Text, "\n"), "is in country KP") {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err := api.Explain(t.Context(), admin.ExplainQuery{From: netip.MustParseAddr("127.0.0.3")}); err != nil || e.ACL.Country != "DE" || e.ACL.ASN != 64512 {
		t.Errorf("%+v, %v", e, err)
	}
}

// lapi is a fake of CrowdSec's local API.
type lapi struct {
	mu     sync.Mutex
	answer string
	asked  []string
}

func (l *lapi) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Header.Get("X-Api-Key") != "s3cret" {
		http.Error(w, "access forbidden", http.StatusForbidden)
		return
	}
	l.asked = append(l.asked, r.URL.Path+"?"+r.URL.RawQuery)
	_, _ = io.WriteString(w, l.answer)
}

func (l *lapi) says(answer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
}

func TestBansFollowCrowdSec(t *testing.T) {
	s, api := bansService(t)
	fake := new(lapi)
	server := httptest.NewServer(fake)
	defer server.Close()
	from, err := newCrowdsec(server.URL, "s3cret")
	if err != nil {
		t.Fatal(err)
	}
	defer from.http.CloseIdleConnections()
	sync := &banSync{from: from, proxy: api, out: io.Discard, errors: io.Discard}
	step := func(want string) {
		t.Helper()
		result, err := sync.step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		page, err := api.Bans(t.Context(), admin.BanQuery{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range page.Bans {
			got = append(got, b.Prefix.String()+" "+b.Source+" "+b.Reason)
		}
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("%+v: the proxy has %s, want %s", result, text, want)
		}
	}
	if _, err := api.Ban(t.Context(), admin.BanRequest{Prefix: mustPrefix("198.51.100.0/24"), Reason: "by hand"}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Ban(t.Context(), admin.BanRequest{Prefix: mustPrefix("198.51.100.9/32"), Source: crowdsecSource, Reason: "stale"}); err != nil {
		t.Fatal(err)
	}
	fake.says(`{"new": [
		{"type": "ban", "scope": "Ip", "value": "127.0.0.5", "duration": "3h59m55.75s", "scenario": "crowdsecurity/ssh-bf\u001b[31m"},
		{"type": "ban", "scope": "Range", "value": "2001:db8::/32", "duration": "1h"},
		{"type": "ban", "scope": "Range", "value": "198.51.100.0/24", "duration": "1h"},
		{"type": "ban", "scope": "Range", "value": "0.0.0.0/0", "duration": "1h"},
		{"type": "ban", "scope": "Country", "value": "KP", "duration": "1h"},
		{"type": "captcha", "scope": "Ip", "value": "127.0.0.6", "duration": "1h"},
		{"type": "ban", "scope": "Ip", "value": "nonsense", "duration": "1h"},
		{"type": "ban", "scope": "Ip", "value": "127.0.0.7", "duration": "-1h"}], "deleted": null}`)
	step("127.0.0.5 crowdsec crowdsecurity/ssh-bf [31m, 198.51.100.0/24 operator by hand, 2001:db8::/32 crowdsec ")
	if !turnedAway(t, "127.0.0.5", s.address("web")) {
		t.Error("a client that CrowdSec has banned is served")
	}
	fake.says(`{"new": null, "deleted": [{"type": "ban", "scope": "Ip", "value": "127.0.0.5", "duration": "-1s"},
		{"type": "ban", "scope": "Range", "value": "198.51.100.0/24", "duration": "-1s"}]}`)
	step("198.51.100.0/24 operator by hand, 2001:db8::/32 crowdsec ")
	if got := strings.Join(fake.asked, " "); !strings.Contains(got, "startup=true") || !strings.HasSuffix(got, "startup=false&scopes=ip,range") {
		t.Errorf("asked for %s", got)
	}
	from.key = "wrong"
	if _, err := sync.step(t.Context()); err == nil || !strings.Contains(err.Error(), "cscli bouncers add") {
		t.Errorf("a wrong key: %v", err)
	}
}
