package faults

import (
	"context"
	"net"
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
	up := make(chan struct{}, 1)
	group := health.Group{Checker: health.NewTCP(), Options: health.Options{Interval: 20 * time.Millisecond, Rise: 1}}
	for range 5 {
		group.Targets = append(group.Targets, health.Target{Backend: new(backend.Backend), Addr: addr})
	}
	m := health.New([]health.Group{group}, func(c health.Change) {
		if c.To != backend.HealthUp {
			return
		}
		select {
		case up <- struct{}{}:
		default:
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { m.Run(ctx) })
	defer running.Wait()
	defer cancel()
	testnet.Eventually(t, "many checks", func() bool { return m.Checks() > 300 })
	if len(up) > 0 {
		t.Errorf("a check of %v passed although nothing listens there", addr)
	}
	l, err := net.ListenTCP("tcp", addr)
	if err != nil {
		t.Fatalf("while checks are made: %v", err)
	}
	defer l.Close()
	select {
	case <-up:
	case <-time.After(testnet.Patience):
		t.Errorf("%v is not up although its server listens", addr)
	}
}
