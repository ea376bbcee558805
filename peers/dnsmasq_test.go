package peers

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"l4proxy/discovery"
	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// TestPeerDnsmasq asks Debian's name server, as most small networks have it.
func TestPeerDnsmasq(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	dir := tempDir(t)
	hosts := filepath.Join(dir, "moving")
	writeFile(t, hosts, []byte("10.1.0.1 moving.test\n"), 0o644)
	port := strconv.Itoa(testnet.FreePort(t))
	argv := []string{
		testenv.NeedTool(t, "dnsmasq"), "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
		"--listen-address=127.0.0.1", "--bind-interfaces", "--port=" + port, "--pid-file=", "--user=", "--local=/test/", "--local-ttl=1",
		"--addn-hosts=" + hosts,
		"--host-record=db.test,10.0.0.1,2001:db8::1,60", "--host-record=db.test,10.0.0.2,120",
		"--cname=alias.test,db.test,30", "--txt-record=text.test,hello",
		"--srv-host=_pg._tcp.test,db.test,5432,10,5", "--srv-host=_pg._tcp.test,moving.test,5433,20,1",
	}
	for i := range 200 {
		argv = append(argv, fmt.Sprintf("--host-record=big.test,10.2.0.%d", i+1))
	}
	server := command{argv: argv}.start(t)
	server.says(t, &server.stderr, "started, version")
	server.says(t, &server.stderr, "read .*moving")

	conf := filepath.Join(dir, "resolv.conf")
	writeFile(t, conf, []byte("nameserver 127.0.0.1\nsearch test\n"), 0o644)
	resolver := discovery.NewResolver(discovery.Files{ResolvConf: conf, Hosts: filepath.Join(dir, "none"), Port: port})
	for name, want := range map[discovery.Name]string{
		{Host: "db.test"}:                  "10.0.0.1 10.0.0.2 2001:db8::1",
		{Host: "db"}:                       "10.0.0.1 10.0.0.2 2001:db8::1",
		{Host: "alias.test"}:               "10.0.0.1 10.0.0.2 2001:db8::1",
		{Host: "_pg._tcp.test", SRV: true}: "10.0.0.1:5432 10.0.0.2:5432 [2001:db8::1]:5432 10.1.0.1:5433",
		{Host: "text.test"}:                "the name has no address",
		{Host: "nosuch.test"}:              "no such host",
	} {
		a, err := resolver.Lookup(t.Context(), name)
		got := fmt.Sprint(err)
		if err == nil {
			var list []string
			for _, e := range a.Endpoints {
				list = append(list, e.String())
			}
			got = strings.Join(list, " ")
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if a, err := resolver.Lookup(t.Context(), discovery.Name{Host: "alias.test"}); err != nil || a.TTL != 30*time.Second {
		t.Errorf("TTL of alias.test: %v, %v; want 30s", a.TTL, err)
	}
	if a, err := resolver.Lookup(t.Context(), discovery.Name{Host: "big.test"}); err != nil || len(a.Endpoints) != 200 {
		t.Errorf("%d addresses of big.test, %v; want 200", len(a.Endpoints), err)
	}

	// A name that moves is followed.
	given := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	bounds := discovery.Bounds{Min: 50 * time.Millisecond, Max: 50 * time.Millisecond}
	running.Go(func() {
		_ = discovery.NewDirectory(resolver.Lookup).Follow(discovery.Name{Host: "moving.test"}, bounds).Run(ctx, func(e discovery.Endpoints) {
			select {
			case given <- e.List[0].String():
			default:
			}
		})
	})
	defer running.Wait()
	defer cancel()
	for _, address := range []string{"10.1.0.1", "10.1.0.2"} {
		writeFile(t, hosts, []byte(address+" moving.test\n"), 0o644)
		if err := server.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for timeout, got := time.After(patience), ""; got != address; {
			select {
			case got = <-given:
			case <-timeout:
				t.Fatalf("moving.test is %s, want %s\n%s", got, address, server.said())
			}
		}
	}
}
