package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
)

func TestPlainProxyTakesTurns(t *testing.T) {
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
	port, err := freePort(20000)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runPlainProxy(ctx, append([]string{address}, backends...)) }()
	eventually(t, "the proxy listens", func() bool {
		up, err := listening(os.Getpid(), port)
		if err != nil {
			t.Fatal(err)
		}
		return up
	})
	var got string
	for range 6 {
		conn, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
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
		t.Errorf("told to end, it said %v", err)
	}
}

func TestPlainProxyWithoutAnAddress(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, args := range [][]string{nil, {"127.0.0.1:0"}, {taken.Addr().String(), "127.0.0.1:1"}} {
		if err := runPlainProxy(t.Context(), args); err == nil {
			t.Errorf("%q was served", args)
		}
	}
}
