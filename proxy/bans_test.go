package proxy_test

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"l4proxy/acl"
	"l4proxy/bans"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// TestBannedClient: a ban comes before an access control list that allows the client, ends the
// client by the action of the ban, and takes effect and ends while the proxy runs.
func TestBannedClient(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		store := bans.New(bans.Options{})
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), func(s *setup) { s.options.Bans = store },
			rules(false, acl.Rule{Name: "allow[0]", Allow: true, Prefixes: prefixes("127.0.0.0/8")}))
		ban := func(with acl.Action) {
			t.Helper()
			if _, err := store.Put([]bans.Entry{{Prefix: netip.MustParsePrefix("127.0.0.1/32"), For: time.Hour, Action: &with}}); err != nil {
				t.Fatal(err)
			}
		}
		for _, test := range []struct {
			with acl.Action
			want string
		}{{acl.Message, denyText}, {acl.Close, ""}, {acl.Reset, "reset"}} {
			ban(test.with)
			c, err := net.Dial("tcp", r.addr)
			if err != nil { // the reset was faster than the system call
				if test.with != acl.Reset {
					t.Fatal(err)
				}
				continue
			}
			got, err := io.ReadAll(c)
			if text := string(got); test.want == "reset" && err == nil || test.want != "reset" && (err != nil || text != test.want) {
				t.Errorf("%s: the client reads %q, %v", test.with, text, err)
			}
			c.Close()
		}
		for _, record := range r.ended(3) {
			if !record.Is(proxy.SideProxy, proxy.ReasonBanned) || record.Rule != proxy.BanRule {
				t.Errorf("%v %v by rule %q", record.Side, record.Reason, record.Rule)
			}
		}
		counts := r.server.Counts()
		if got := counts.Listeners[0].Rules; !slices.Contains(got, proxy.RuleCount{Rule: proxy.BanRule, Kind: proxy.RuleDeny, Hits: 3}) {
			t.Errorf("counted: %+v", got)
		}
		if b.Accepted() != 0 {
			t.Error("a backend was dialed for a banned client")
		}
		store.Remove(bans.Filter{})
		c := r.dial()
		if _, err := io.WriteString(c, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Errorf("after the ban: %v", err)
		}
		c.Close()
		r.expect(r.ended(4)[3], proxy.SideClient, proxy.ReasonClosed, 1, 1)
	})
}
