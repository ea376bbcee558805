package proxy_test

import (
	"bytes"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"l4proxy/acl"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// TestClosedWritersReadTheEnd: clients that have sent bytes, and send more, are turned away with a
// close. They read a clean end of the stream and no reset, for every reason.
func TestClosedWritersReadTheEnd(t *testing.T) {
	queue := func(size int, timeout time.Duration) func(*setup) { return queueing(1, size, timeout) }
	const soon = 20 * time.Millisecond
	engines(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			name   string
			reason proxy.Reason
			ahead  int // clients that came before: the first has the only slot of the backend
			change func(*setup)
		}{
			{"denied", proxy.ReasonDenied, 0, rules(true,
				acl.Rule{Name: "deny[0]", Action: acl.Close, Prefixes: prefixes("127.0.0.0/8", "::1/128")})},
			{"refused", proxy.ReasonConnectRefused, 0, func(*setup) {}},
			{"full", proxy.ReasonNoBackend, 1, queue(0, soon)},
			{"queue_full", proxy.ReasonQueueFull, 2, queue(1, testnet.Patience)},
			{"queue_timeout", proxy.ReasonQueueTimeout, 1, queue(1, soon)},
			{"queue_timeout_for_any", proxy.ReasonQueueTimeout, 1, func(s *setup) {
				queue(1, soon)(s)
				s.listener.NoBackend = proxy.QueueClient
			}},
		} {
			for _, network := range []string{"tcp", "tcp6", "unix"} {
				if test.reason == proxy.ReasonDenied && network == "unix" {
					continue // its clients have no address that a rule with an action could match
				}
				t.Run(test.name+"_"+network, func(t *testing.T) {
					backend := testnet.Refusing(t)
					if test.ahead > 0 {
						backend = testnet.Serve(t, "tcp", "", testnet.Echo).Addr
					}
					var clients []testnet.Conn
					r := start(t, engine, []string{backend}, test.change, func(s *setup) {
						s.options.Workers = 1
						s.listener.Binds[0] = map[string]listen.Bind{
							"tcp":  {Addr: netip.MustParseAddrPort("127.0.0.1:0")},
							"tcp6": {Addr: netip.MustParseAddrPort("[::1]:0")},
							"unix": {Path: filepath.Join(t.TempDir(), "front")},
						}[network]
						s.before = func(addr string) {
							for range test.ahead + 1 {
								c := testnet.Dial(t, strings.TrimSuffix(network, "6"), addr)
								if _, err := c.Write(bytes.Repeat([]byte("x"), 300)); err != nil {
									t.Fatal(err)
								}
								clients = append(clients, c)
							}
						}
					})
					c := clients[test.ahead]
					if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
						t.Fatalf("the client reads %d bytes, %v; want EOF", n, err)
					}
					if _, err := c.Write(make([]byte, 1000)); err != nil {
						t.Errorf("it cannot send what it was about to: %v", err)
					}
					if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
						t.Errorf("afterwards it reads %d bytes, %v; want EOF", n, err)
					}
					c.Close()
					if record := r.ended(1)[0]; record.Reason != test.reason || record.BytesIn != 0 {
						t.Errorf("reason = %v with %d bytes to the backend, want %v", record.Reason, record.BytesIn, test.reason)
					}
					if test.ahead > 0 {
						if _, err := io.ReadFull(clients[0], make([]byte, 300)); err != nil {
							t.Errorf("the client that is served: %v", err)
						}
					}
				})
			}
		}
	})
}
