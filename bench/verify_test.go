package main

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// serveOnce accepts one connection and hands it to serve.
func serveOnce(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { listener.Close(); <-done })
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		serve(conn)
	}()
	return listener.Addr().String()
}

func TestVerify(t *testing.T) {
	if err := runVerify(t.Context(), []string{testnet.Serve(t, "tcp", "", testnet.Echo).Addr}); err != nil {
		t.Errorf("an echo server: %v", err)
	}
	corrupting := serveOnce(t, func(conn net.Conn) {
		var b [1]byte
		_, _ = io.ReadFull(conn, b[:])
		b[0]++
		_, _ = conn.Write(b[:])
	})
	err := runVerify(t.Context(), []string{corrupting})
	if want := "1 bytes: different bytes came back"; err == nil || err.Error() != want {
		t.Errorf("a corrupting server: %v, want %s", err, want)
	}
}

func TestVerifyRefused(t *testing.T) {
	err := runVerify(t.Context(), []string{"-refused", testnet.Serve(t, "tcp", "", testnet.Echo).Addr})
	if want := "a client that is not allowed was served"; err == nil || err.Error() != want {
		t.Errorf("an echo server: %v, want %s", err, want)
	}
	denying := serveOnce(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "Access Denied") })
	if err := runVerify(t.Context(), []string{"-refused", denying}); err != nil {
		t.Errorf("a server that denies: %v", err)
	}
	silent := serveOnce(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := runVerify(ctx, []string{"-refused", silent}); err == nil {
		t.Error("a server that says nothing passed for one that denies")
	}
}

func TestVerifyFromAnAddress(t *testing.T) {
	from := make(chan string, 1)
	address := serveOnce(t, func(conn net.Conn) {
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		from <- host
	})
	if err := runVerify(t.Context(), []string{"-refused", "-from", "127.4.0.1", address}); err != nil {
		t.Error(err)
	}
	if got := <-from; got != "127.4.0.1" {
		t.Errorf("the connection came from %s", got)
	}
	for _, args := range [][]string{{}, {"a", "b"}, {"-from", "here", "127.0.0.1:1"}, {"-nonsense", "127.0.0.1:1"}} {
		if err := runVerify(t.Context(), args); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}
