package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"l4proxy/config"
	"l4proxy/discovery"
)

// names is a name server. It counts the questions.
type names struct {
	known map[string][]string
	mu    sync.Mutex // look-ups are concurrent
	asked map[string]int
}

func (n *names) lookup(_ context.Context, name discovery.Name) ([]discovery.Endpoint, error) {
	host := name.String()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asked == nil {
		n.asked = make(map[string]int)
	}
	n.asked[host]++
	answer, ok := n.known[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return endpoints(answer...), nil
}

// endpoints are those of a name with these addresses, in the order of a Directory. An address may
// have a port.
func endpoints(addresses ...string) []discovery.Endpoint {
	list := []discovery.Endpoint{}
	for _, text := range addresses {
		if ip, err := netip.ParseAddr(text); err == nil {
			list = append(list, discovery.Endpoint{IP: ip.Unmap()})
			continue
		}
		ap := netip.MustParseAddrPort(text)
		list = append(list, discovery.Endpoint{IP: ap.Addr(), Port: ap.Port()})
	}
	slices.SortFunc(list, discovery.Compare)
	return list
}

// noNames is for configurations without names.
func noNames(_ context.Context, name discovery.Name) ([]discovery.Endpoint, error) {
	return nil, errors.New("asked for " + name.String())
}

func TestResolve(t *testing.T) {
	server := names{known: map[string][]string{
		"both.test":   {"2001:db8::1", "10.0.0.2", "10.0.0.1"},
		"six.test":    {"2001:db8::2", "2001:db8::1"},
		"mapped.test": {"2001:db8::1", "::ffff:10.0.0.3"},
	}}
	f := Facts{hosts: make(map[discovery.Name]answer[[]discovery.Endpoint])}
	hosts := map[string]string{"both.test": "10.0.0.1", "six.test": "2001:db8::1", "mapped.test": "10.0.0.3"}
	var asked []discovery.Name
	for host := range hosts {
		asked = append(asked, discovery.Name{Host: host})
	}
	for range 2 {
		f.resolve(t.Context(), slices.Concat(asked, asked), server.lookup)
	}
	for host, want := range hosts {
		if got, _, err := f.ip(config.Address{Host: host}); err != nil || got.String() != want {
			t.Errorf("ip(%s) = %v, %v; want %s", host, got, err, want)
		}
	}
	if got, _, err := f.ip(config.Address{IP: netip.MustParseAddr("::1")}); err != nil || got.String() != "::1" {
		t.Errorf("ip(::1) = %v, %v", got, err)
	}
	for _, host := range []string{"both.test", "six.test", "mapped.test"} {
		if server.asked[host] != 1 {
			t.Errorf("%s was looked up %d times, want once", host, server.asked[host])
		}
	}
	if len(server.asked) != 3 {
		t.Errorf("looked up %v, want names only", server.asked)
	}
}

// manyNames is a configuration of n backends that are names.
func manyNames(t *testing.T, n int) *config.Config {
	t.Helper()
	var b strings.Builder
	b.WriteString("listeners: {web: {bind: \":80\"}}\npools: {web: {backends: [")
	for i := range n {
		fmt.Fprintf(&b, "\"host%d.test:80\", ", i)
	}
	return parse(t, b.String()+"]}}\n")
}

// A start waits for a slow name server once, not once per name: here the server answers only when
// all names have been asked for.
func TestNamesAreResolvedAtOnce(t *testing.T) {
	var asked sync.WaitGroup
	asked.Add(lookupsAtOnce)
	together := func(context.Context, discovery.Name) ([]discovery.Endpoint, error) {
		asked.Done()
		asked.Wait()
		return endpoints("10.0.0.1"), nil
	}
	cfg := manyNames(t, lookupsAtOnce)
	if _, err := Build(cfg, Gather(t.Context(), cfg, together)); err != nil {
		t.Error(err)
	}
}

// The number of concurrent look-ups is bounded, and all failures are reported, in the order of the
// file.
func TestAllNamesThatFailAreReported(t *testing.T) {
	const n = 10 * lookupsAtOnce
	var mu sync.Mutex
	now, most := 0, 0
	gone := errors.New("no such host")
	lookup := func(_ context.Context, name discovery.Name) ([]discovery.Endpoint, error) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		defer func() { mu.Lock(); now--; mu.Unlock() }()
		if strings.HasPrefix(name.Host, "host7") {
			return endpoints("10.0.0.1"), nil
		}
		return nil, gone
	}
	cfg := manyNames(t, n)
	cfg.Listeners[0].Binds[0].Host = "front.test"
	_, err := Build(cfg, Gather(t.Context(), cfg, lookup))
	var want []string
	for i := range n {
		if host := fmt.Sprintf("host%d", i); !strings.HasPrefix(host, "host7") {
			want = append(want, fmt.Sprintf("%s: pool web, backend %s.test:80: cannot resolve the name: no such host",
				cfg.Where(config.Path("pools", "web", "backends", i)), host))
		}
	}
	want = append(want, cfg.Where("listeners.web.bind[0]").String()+": listener web: bind front.test:80: cannot resolve the name: no such host")
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("error\n%v\nwant\n%s", err, strings.Join(want, "\n"))
	}
	if most > lookupsAtOnce {
		t.Errorf("%d look-ups at once, want at most %d", most, lookupsAtOnce)
	}
}

// Only resolved names show that two listeners have the same address, or that a backend is the proxy
// itself.
func TestResolvedNamesAreChecked(t *testing.T) {
	server := names{known: map[string][]string{"a.test": {"127.0.0.1"}, "b.test": {"::1"}, "c.test": {"127.0.0.1"}}}
	for want, yaml := range map[string]string{
		`config.yaml:2:48: a.test:80 (127.0.0.1) of the listener "b" overlaps 0.0.0.0:80 of the listener "a" (line 2): choose another port, or remove one of them`: `
listeners: {a: {bind: "0.0.0.0:80"}, b: {bind: "a.test:80"}}
pools: {web: {backends: ["10.0.0.1:1"]}}`,
		`config.yaml:2:47: c.test:80 (127.0.0.1) of the listener "b" is already taken by the listener "a" (line 2): choose another address`: `
listeners: {a: {bind: "a.test:80"}, b: {bind: "c.test:80"}}
pools: {web: {backends: ["10.0.0.1:1"]}}`,
		`config.yaml:3:26: the backend a.test:80 is the proxy itself: the pool "web" leads back to it through :80 of its listener "web" (line 2): write the address of a server, or remove it`: `
listeners: {web: {bind: ":80"}}
pools: {web: {backends: ["a.test:80", "b.test:81"]}}`,
		`config.yaml:3:26: the backend [::1]:80 is the proxy itself: the pool "web" leads back to it through b.test:80 (::1) of its listener "web" (line 2): write the address of a server, or remove it`: `
listeners: {web: {bind: "b.test:80"}}
pools: {web: {backends: ["[::1]:80"]}}`,
		`config.yaml:2:25: listener web: bind [fe80::1%nosuch0]:80: no network interface "nosuch0": write the name of an existing one after %`: `
listeners: {web: {bind: "[fe80::1%nosuch0]:80"}}
pools: {web: {backends: ["10.0.0.1:1"]}}`,
		`config.yaml:2:13: listener web: owner: unknown user "nosuchuser": write an existing one, or a numeric ID
config.yaml:2:60: listener api: owner: unknown group "nosuchgroup": write an existing one, or a numeric ID`: `
listeners: {web: {bind: "unix:/run/a", owner: nosuchuser}, api: {bind: "unix:/run/b", owner: "0:nosuchgroup"}}
pools: {web: {backends: ["10.0.0.1:1"]}}`,
		"": `
listeners: {a: {bind: "0.0.0.0:80"}, b: {bind: "b.test:80"}}
pools: {web: {backends: ["a.test:81"]}}`,
	} {
		got := ""
		cfg := parse(t, yaml)
		if _, err := Build(cfg, Gather(t.Context(), cfg, server.lookup)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("error %s\nwant %s", got, want)
		}
	}
}
