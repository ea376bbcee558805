package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/config"
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
	p, err := start(t.Context(), cfg, &stderr)
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
		`"msg":"shutting down already: a second signal closes all connections","signal":"SIGTERM"`,
		`"msg":"connections were still open at the end of the drain","connections":1,"listeners":"web 1","backends":"web ` + b.Addr + ` 1","oldest":"web `,
		`"reason":"drain_timeout"`,
		`"msg":"stopped","ended":0,"closed":1`,
	} {
		if !strings.Contains(stderr.String(), line) {
			t.Errorf("no %s in the log:\n%s", line, stderr.String())
		}
	}
}
