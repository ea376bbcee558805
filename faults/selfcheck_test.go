package faults

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/health"
	"l4proxy/internal/testnet"
)

// TestFaultSelfConnectOfChecks checks a local backend that is down, and whose port is one of the 16
// source ports of the kernel. A check that gets that port connects to itself. It must count as
// refused, and must not keep the backend from binding its port.
func TestFaultSelfConnectOfChecks(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	setting(t, "net/ipv4/ip_local_port_range", "40000 40015")
	for _, address := range []string{"127.0.0.1:40006", "[::1]:40006"} {
		addr, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		for name, checker := range map[string]health.Checker{
			"tls": health.NewTLS(health.TLSOptions{}), "http": health.NewHTTP(health.HTTPOptions{}),
			"expect": health.NewExpect([]health.Step{{Send: []byte("x")}, {Receive: []byte("x")}}),
		} {
			for range 1000 { // package net dials three times before it accepts a self-connect
				ctx, cancel := context.WithTimeout(t.Context(), testnet.Patience)
				err := checker.Check(ctx, addr, "")
				cancel()
				if err == nil || !strings.Contains(err.Error(), "refused") {
					t.Fatalf("%s of %s: %v", name, address, err)
				}
				l, err := net.ListenTCP("tcp", addr)
				if err != nil {
					t.Fatalf("after a check of type %s: %v", name, err)
				}
				l.Close()
			}
		}
		tcpChecksRefused(t, addr)
	}
}

// tcpChecksRefused checks addr many times with a monitor, which must never report it up while
// nothing listens there.
func tcpChecksRefused(t *testing.T, addr *net.TCPAddr) {
	t.Helper()
	group := health.Group{Checker: health.NewTCP(), Options: health.Options{Interval: 20 * time.Millisecond, Rise: 1}}
	for range 5 {
		group.Targets = append(group.Targets, health.Target{Backend: new(backend.Backend), Addr: addr})
	}
	m := health.New()
	checks := m.Add(group)
	up := func() bool {
		return slices.ContainsFunc(checks.Changes.Take(), func(c health.Change) bool { return c.To == backend.HealthUp })
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { m.Run(ctx) })
	defer running.Wait()
	defer cancel()
	testnet.Eventually(t, "many checks", func() bool { return m.Checks() > 300 })
	if up() {
		t.Errorf("a check of %v passed although nothing listens there", addr)
	}
	l, err := net.ListenTCP("tcp", addr)
	if err != nil {
		t.Fatalf("while checks are made: %v", err)
	}
	defer l.Close()
	testnet.Eventually(t, "a backend is up after its server listens", up)
}
