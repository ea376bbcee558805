package proxy_test

import (
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"l4proxy/acl"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// denied starts a proxy that allows 127.0.0.2 and denies all other clients.
func denied(t *testing.T, engine string, with acl.Action) (*running, *testnet.Backend) {
	t.Helper()
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	r := start(t, engine, addresses(b), rules(false,
		acl.Rule{Name: "allow[0]", Allow: true, Prefixes: prefixes("127.0.0.2/32")},
		acl.Rule{Name: "deny[1]", Action: with, Prefixes: prefixes("127.0.0.0/8")}))
	return r, b
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func TestDenyMessage(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			name string
			sent int
		}{{"silent_client", 0}, {"one_byte", 1}, {"request", 300}, {"much_data", 100_000}} {
			t.Run(test.name, func(t *testing.T) {
				r, b := denied(t, engine, acl.Message)
				c := r.dial()
				if _, err := io.WriteString(c, strings.Repeat("x", test.sent)); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(c)
				if err != nil || string(got) != denyText || len(got) != 40 {
					t.Errorf("the client reads %q, %v; want the message, then EOF", got, err)
				}
				c.Close()
				record := r.endedOne(proxy.SideProxy, proxy.ReasonDenied, 0, 0)
				if record.Rule != "deny[1]" || record.Attempts != 0 || record.Backend != nil {
					t.Errorf("rule, attempts, backend = %q, %d, %v", record.Rule, record.Attempts, record.Backend)
				}
				if b.Accepted() != 0 {
					t.Error("a backend was dialled for a denied client")
				}
			})
		}
	})
}

// TestDenyMessageToWriters: clients keep writing while they are denied. None of them may lose the
// message.
func TestDenyMessageToWriters(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		r, _ := denied(t, engine, acl.Message)
		for i := range 50 {
			c := r.dial()
			both(t, func() error {
				_, err := io.WriteString(c, strings.Repeat("GET / HTTP/1.1\r\n", i*200))
				return err
			}, func() error {
				got, err := io.ReadAll(c)
				if string(got) != denyText {
					t.Errorf("client %d reads %q", i, got)
				}
				return err
			})
			c.Close()
		}
	})
}

func TestDenySilently(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, with := range []acl.Action{acl.Close, acl.Reset} {
			t.Run(with.String(), func(t *testing.T) {
				r, b := denied(t, engine, with)
				c, err := testnet.TryDial("tcp", r.addr)
				n := 0
				if err == nil { // else the reset was faster
					n, err = c.Read(make([]byte, 100))
					c.Close()
				}
				if n != 0 || with == acl.Close && err != io.EOF || with == acl.Reset && !testnet.IsReset(err) {
					t.Errorf("the client reads %d bytes, %v", n, err)
				}
				record := r.endedOne(proxy.SideProxy, proxy.ReasonDenied, 0, 0)
				if record.Rule != "deny[1]" || b.Accepted() != 0 {
					t.Errorf("rule = %q, %d connections to the backend", record.Rule, b.Accepted())
				}
			})
		}
	})
}

// TestDeniedClientsReset: denied clients reset at once, or linger. Allowed clients are served
// nevertheless.
func TestDeniedClientsReset(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, with := range []acl.Action{acl.Message, acl.Close, acl.Reset} {
			t.Run(with.String(), func(t *testing.T) {
				r, b := denied(t, engine, with)
				const many = 200
				for i := range many {
					c, err := testnet.TryDial("tcp", r.addr)
					if with == acl.Reset && testnet.IsReset(err) {
						continue // the proxy was faster
					}
					if err != nil {
						t.Fatal(err)
					}
					if i%2 == 0 {
						_, _ = io.WriteString(c, "hello?")
					}
					testnet.Reset(c)
				}
				for range 5 { // these never close
					c, err := testnet.TryDial("tcp", r.addr)
					if err == nil {
						t.Cleanup(func() { c.Close() })
					}
				}
				c := testnet.DialFrom(t, "127.0.0.2", r.addr)
				mustAsk(t, c, "served")
				c.Close()
				testnet.Eventually(t, "the allowed client is recorded", func() bool {
					return slices.ContainsFunc(r.records.all(), func(k proxy.Record) bool { return k.Reason == proxy.ReasonClosed })
				})
				if b.Accepted() != 1 {
					t.Errorf("%d connections to the backend, want 1", b.Accepted())
				}
			})
		}
	})
}

// TestDenyMapped: an IPv4 client comes to an IPv6 socket as ::ffff:127.0.0.1. Rules for IPv4 apply
// to it.
func TestDenyMapped(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		allow := acl.Rule{Name: "allow[0]", Allow: true, Prefixes: prefixes("127.0.0.2/32", "::ffff:127.0.0.3/128")}
		for _, bind := range []listen.Bind{{}, {Addr: netip.MustParseAddrPort("[::]:0")}} {
			t.Run(bind.String(), func(t *testing.T) {
				r := start(t, engine, addresses(b), rules(false, allow), func(s *setup) { s.listener.Binds[0] = bind })
				port := netip.MustParseAddrPort(r.addr).Port()
				at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String()
				for _, from := range []string{"127.0.0.2", "127.0.0.3"} {
					c := testnet.DialFrom(t, from, at)
					mustAsk(t, c, "hello")
					c.Close()
				}
				for _, record := range r.ended(2) {
					if !record.Client.Addr().Is4() {
						t.Errorf("client = %v, want an IPv4 address", record.Client)
					}
				}
				c := testnet.Dial(t, "tcp", at)
				if got, err := io.ReadAll(c); err != nil || string(got) != denyText {
					t.Errorf("127.0.0.1 reads %q, %v", got, err)
				}
			})
		}
	})
}
