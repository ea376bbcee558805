package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/config"
	"l4proxy/control"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// TestDrainByRequest stops a process as the admin API does. A first signal does not cut this short.
func TestDrainByRequest(t *testing.T) {
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	cfg, err := config.Parse("config.json", []byte(strings.Replace(smallConfig, "127.0.0.1:1", b.Addr, 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	p, err := start(t.Context(), cfg, nil, &stderr, nil)
	if err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 2)
	served := make(chan error, 1)
	go func() { served <- p.serve(signals) }()
	client := testnet.Dial(t, "tcp", p.server.Addrs()[0].Bind.String())
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.drainer.status(); ok || !p.drainer.ready() {
		t.Error("not ready before the request")
	}
	timeout := 300 * time.Millisecond
	if err := p.drainer.request(drainRequest{timeout: &timeout}); err != nil {
		t.Fatal(err)
	}
	if p.drainer.ready() {
		t.Error("ready after the request")
	}
	if err := p.drainer.request(drainRequest{}); !errors.Is(err, errDraining) {
		t.Errorf("a second request: %v", err)
	}
	testnet.Eventually(t, "it drains", func() bool {
		s, _ := p.drainer.status()
		return s.State == stateDraining && s.Before == 1 && s.Deadline != nil
	})
	signals <- unix.SIGTERM
	if err := <-served; err != nil {
		t.Error(err)
	}
	status, ok := p.drainer.status()
	if !ok || status.State != stateDone || status.Left == nil || status.Left.Connections != 1 {
		t.Fatalf("status = %+v", status)
	}
	want := proxy.LeftConn{Listener: "web", Client: client.LocalAddr().String(), Pool: "web", Backend: b.Addr, BytesIn: 1, BytesOut: 1}
	got := status.Left.Oldest[0]
	if got.Age < 0.3 || got.Idle < 0.3 {
		t.Errorf("age %v, idle %v", got.Age, got.Idle)
	}
	if got.Age, got.Idle = 0, 0; got != want {
		t.Errorf("left: %+v, want %+v", got, want)
	}
	for _, line := range []string{
		`"msg":"shutting down: waiting for connections to end","request":"admin","connections":1,"delay":"0s","timeout":"300ms","spread":"0s"`,
		`"msg":"already shutting down: the next signal closes all connections","signal":"SIGTERM"`,
		`"msg":"connections were still open at the end of the drain","connections":1,"listeners":"web 1","backends":"web ` + b.Addr + ` 1","oldest":"web `,
		`"reason":"drain_timeout"`,
		`"msg":"stopped","ended":0,"closed":1`,
	} {
		if !strings.Contains(stderr.String(), line) {
			t.Errorf("no %s in the log:\n%s", line, stderr.String())
		}
	}
}

// named is a backend that greets each client with a byte, and answers nothing.
func named(t *testing.T, name string) *testnet.Backend {
	return testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
		_, _ = io.WriteString(c, name)
		_, _ = io.Copy(io.Discard, c)
	})
}

// greeted connects a client and returns the name of its backend.
func greeted(t *testing.T, addr string) (c testnet.Conn, name string) {
	t.Helper()
	c = testnet.Dial(t, "tcp", addr)
	p := make([]byte, 1)
	if _, err := io.ReadFull(c, p); err != nil {
		t.Fatalf("no greeting: %v", err)
	}
	return c, string(p)
}

// TestDrainsOnRealSockets drains a backend and a listener of a running process, across reloads.
func TestDrainsOnRealSockets(t *testing.T) {
	a, b := named(t, "a"), named(t, "b")
	cfg, err := config.Parse("config.yaml", fmt.Appendf(nil, `
log: {format: json}
drain: {timeout: 0s}
listeners: {web: {bind: "127.0.0.1:0"}, other: {bind: "127.0.0.1:0"}}
pools: {web: {backends: [%q, %q]}}
`, a.Addr, b.Addr), nil)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	p, err := start(t.Context(), cfg, nil, &stderr, nil)
	if err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	served := make(chan error, 1)
	go func() { served <- p.serve(signals) }()
	defer func() {
		signals <- unix.SIGTERM
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	reload := func() {
		t.Helper()
		plan, err := control.Build(cfg, control.Gather(context.Background(), cfg, newDirectory().Lookup))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.live.Apply(plan, func(s *proxy.State) error { return p.server.Apply(s, 0) }); err != nil {
			t.Fatal(err)
		}
	}
	addr, other := p.server.Addrs()[0].Bind.String(), p.server.Addrs()[1].Bind.String()
	onA := make([]testnet.Conn, 0, 3)
	for len(onA) < 3 {
		if c, name := greeted(t, addr); name == "a" {
			onA = append(onA, c)
		}
	}
	if _, err := io.WriteString(onA[0], "a question"); err != nil {
		t.Fatal(err)
	}

	// No new client gets the backend, and its connections stay.
	if _, err := p.live.SetBackend("", a.Addr, backend.AdminDrain, control.DrainOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		reload()
		if _, name := greeted(t, addr); name != "b" {
			t.Fatalf("a client is served by %s", name)
		}
	}
	if d := p.live.Drains(); len(d) != 1 || d[0].Connections != 3 {
		t.Errorf("drains = %+v", d)
	}

	// With a timeout, quiet connections end before it, and the one that waits for an answer at its
	// end, with a reset.
	began := time.Now()
	o := control.DrainOptions{Timeout: time.Second, Spread: 10 * time.Millisecond}
	if _, err := p.live.SetBackend("web", a.Addr, backend.AdminDrain, o); err != nil {
		t.Fatal(err)
	}
	for i := range onA {
		c := onA[len(onA)-1-i]
		if _, err := c.Read(make([]byte, 1)); testnet.IsReset(err) != (c == onA[0]) || c != onA[0] && err != io.EOF {
			t.Errorf("connection %d reads %v", i, err)
		}
		if waited := time.Since(began) >= o.Timeout; waited != (c == onA[0]) {
			t.Errorf("connection %d ended after %v", i, time.Since(began))
		}
	}
	testnet.Eventually(t, "one was closed at the end", func() bool {
		d := p.live.Drains()
		return len(d) == 1 && d[0].Connections == 0 && d[0].Before == 3 && d[0].Closed == 1
	})
	if _, err := p.live.SetBackend("web", a.Addr, backend.AdminUp, control.DrainOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, name := greeted(t, addr); name != "a" {
		t.Errorf("the next client is served by %s, not by the backend without connections", name)
	}

	// A listener refuses clients until that is undone. The other one goes on.
	if _, err := p.live.DrainListener("other", control.DrainOptions{}); err != nil {
		t.Fatal(err)
	}
	refused := func() bool {
		c, err := testnet.TryDial("tcp", other)
		if err == nil {
			c.Close()
		}
		return err != nil
	}
	testnet.Eventually(t, "clients are refused", refused)
	for range 10 {
		reload()
		if !refused() {
			t.Fatal("a reload has opened the listener")
		}
	}
	greeted(t, addr)
	if err := p.live.UndrainListener("other"); err != nil {
		t.Fatal(err)
	}
	testnet.Eventually(t, "clients are served again", func() bool { return !refused() })
	greeted(t, other)
}
