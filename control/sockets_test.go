package control

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/config"
	"l4proxy/internal/sockopt"
	"l4proxy/listen"
)

func planOf(t *testing.T, text string) (*Plan, error) {
	t.Helper()
	cfg, err := config.Parse("c.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return Build(cfg, Gather(context.Background(), cfg, nil))
}

// An option that this kernel does not have is an error at its position, one line for each key.
func TestMissingOptions(t *testing.T) {
	_, err := planOf(t, `listeners:
  a: {bind: {address: "127.0.0.1:80", interface: no_such0}, tcp: {congestion: no_such}}
pools:
  p: {backends: ["127.0.0.1:81"], tcp: {congestion: no_such}}
`)
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{
		`c.yaml:2:79: listener a: the kernel has no congestion control "no_such"`,
		`c.yaml:2:50: listener a: this machine has no network interface "no_such0"`,
		`c.yaml:4:53: pool p: the kernel has no congestion control "no_such"`,
	} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d of %q, want %q", i, lines, want)
		}
	}
}

// Options reach the sockets that they are for. What is not configured stays at its zero value.
func TestOptionsArePlanned(t *testing.T) {
	plan, err := planOf(t, `listeners:
  a: {bind: [{address: "[::]:80", v6only: true, interface: lo, backlog: 9}, "unix:@a"], tcp: {keepalive: {idle: 10s, interval: 5s, count: 2}, nodelay: false}}
  b: {bind: "127.0.0.1:81"}
pools:
  p: {backends: ["127.0.0.1:82"], source: [127.0.0.2, "::1"], tcp: {user_timeout: 20s, notsent_lowat: 4KiB}, health: {type: tcp}}
`)
	if err != nil {
		t.Fatal(err)
	}
	a, b, pool := plan.Listeners[0], plan.Listeners[1], plan.Pools[0]
	keep := sockopt.KeepAlive{Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 2, Timeout: 20 * time.Second}
	want := listen.Options{V6Only: listen.V6Yes, Interface: "lo", Backlog: 9, TCP: sockopt.TCP{KeepAlive: keep, Nagle: true}}
	if got := a.Binds[0].Options; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := a.Binds[1].Options; got != (listen.Options{}) {
		t.Errorf("the unix socket has %+v", got)
	}
	if a.KeepAlive == nil || *a.KeepAlive != keep {
		t.Errorf("keepalive %+v", a.KeepAlive)
	}
	if b.Binds[0].Options != (listen.Options{}) || b.KeepAlive != nil {
		t.Errorf("%+v", b)
	}
	o := pool.Origin
	timeout := sockopt.KeepAlive{Idle: time.Minute, Interval: 15 * time.Second, Count: 4, Timeout: 20 * time.Second}
	if o == nil || len(o.IPv4) != 1 || len(o.IPv6) != 1 || o.Client || o.TCP != (sockopt.TCP{KeepAlive: timeout, NotSentLowat: 4096}) {
		t.Errorf("%+v", o)
	}
	if o.IPv6[0].Family() != unix.AF_INET6 {
		t.Errorf("%v", o.IPv6[0])
	}
}

// What needs CAP_NET_ADMIN while the proxy runs is listed, so that it is not given up.
func TestNetAdminIsListed(t *testing.T) {
	cfg, err := config.Parse("c.yaml", []byte(`listeners:
  a: {bind: {address: ":80", transparent: true, interface: lo}, pool: p}
  b: {bind: ":81", tcp: {mark: 7}, pool: p}
  c: {bind: ":82", tcp: {nodelay: false}, pool: p}
pools:
  p: {source: client, backends: ["127.0.0.1:83"]}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"listener a: transparent", "listener b: mark", "pool p: transparent"}
	if got := NetAdmin(cfg); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
