package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"l4proxy/internal/testnet"
)

func TestBackendsTakeTurns(t *testing.T) {
	var backends []string
	for i := range 3 {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		defer func() { listener.Close(); <-done }()
		go func() {
			defer close(done)
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(conn, i)
				conn.Close()
			}
		}()
		backends = append(backends, listener.Addr().String())
	}
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, append([]string{address}, backends...)) }()
	var got string
	for range 6 {
		var conn net.Conn
		testnet.Eventually(t, "the proxy listens", func() bool {
			conn, err = net.Dial("tcp4", address)
			return err == nil
		})
		answer, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		got += string(answer)
	}
	if got != "012012" {
		t.Errorf("the backends answered %s, want 012012", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("asked to end, it failed with %v", err)
	}
}

func TestArguments(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, args := range [][]string{nil, {"127.0.0.1:0"}, {taken.Addr().String(), "127.0.0.1:1"}} {
		if err := run(t.Context(), args); err == nil {
			t.Errorf("%q was served", args)
		}
	}
}
