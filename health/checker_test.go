package health

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// addrOf is the address of a test's server.
func addrOf(t testing.TB, network, address string) net.Addr {
	t.Helper()
	if network == "unix" {
		return &net.UnixAddr{Name: address, Net: network}
	}
	a, err := net.ResolveTCPAddr(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// serve runs handle for each connection, and returns the server's address.
func serve(t testing.TB, handle func(testnet.Conn)) net.Addr {
	t.Helper()
	return addrOf(t, "tcp", testnet.Serve(t, "tcp", "", handle).Addr)
}

// check makes one check, with all the time that it may need.
func check(t testing.TB, c Checker, addr net.Addr) error {
	t.Helper()
	return checkNamed(t, c, addr, "")
}

// checkNamed is check of a server that is configured by name.
func checkNamed(t testing.TB, c Checker, addr net.Addr, name string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testnet.Patience)
	defer cancel()
	return c.Check(ctx, addr, name)
}

// wantError checks that err says want, which may end in * for anything. The want "" stands for no
// error.
func wantError(t testing.TB, what string, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	prefix, open := strings.CutSuffix(want, "*")
	if got != want && (!open || !strings.HasPrefix(got, prefix)) {
		t.Errorf("%s: error %q, want %q", what, got, want)
	}
}

// silentUntil makes a server that calls reached when something has come, and says nothing until the
// client goes.
func silentUntil(t testing.TB, reached func()) net.Addr {
	return serve(t, func(c testnet.Conn) {
		_, _ = c.Read(make([]byte, 1))
		reached()
		_, _ = io.Copy(io.Discard, c)
	})
}

func TestCheckersGiveUpWithTheContext(t *testing.T) {
	for _, test := range []struct {
		name    string
		checker Checker
		want    string
	}{
		{"tls", NewTLS(TLSOptions{}), "TLS handshake: no answer in time"},
		{"http", NewHTTP(HTTPOptions{}), "HTTP answer: no answer in time"},
		{"https", NewHTTP(HTTPOptions{TLS: &TLSOptions{}}), "TLS handshake: no answer in time"},
		{"expect", NewExpect([]Step{{Send: []byte("PING")}, {Receive: []byte("+PONG")}}), `no answer in time: received nothing, expected "+PONG"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			testnet.SameFiles(t)
			ctx, cancel := context.WithCancel(t.Context())
			wantError(t, "silence", test.checker.Check(ctx, silentUntil(t, cancel), ""), test.want)
			cancel()
		})
	}
	t.Run("tcp", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		silent := addrOf(t, "tcp", testnet.Silent(t))
		wantError(t, "dropped SYNs", NewTCP().Check(ctx, silent, ""), "connect: no answer in time")
	})
}

func TestCheckersAreRefused(t *testing.T) {
	refusing := addrOf(t, "tcp", testnet.Refusing(t))
	absent := addrOf(t, "unix", filepath.Join(t.TempDir(), "none"))
	for name, checker := range map[string]Checker{
		"tcp": NewTCP(), "tls": NewTLS(TLSOptions{}), "http": NewHTTP(HTTPOptions{}), "expect": NewExpect(nil),
	} {
		wantError(t, name, check(t, checker, refusing), "connect: connection refused")
		wantError(t, name, check(t, checker, absent), "connect: no such file or directory")
	}
}

// TestChecksSendAHeaderFirst: also to a server that speaks before its clients, and has closed by
// then.
func TestChecksSendAHeaderFirst(t *testing.T) {
	const header = "PROXY UNKNOWN\r\n"
	first := make(chan string, 1)
	addr := serve(t, func(c testnet.Conn) {
		got := make([]byte, len(header))
		_, _ = io.ReadFull(c, got)
		first <- string(got)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	for name, checker := range map[string]Checker{
		"http": NewHTTP(HTTPOptions{}), "expect": NewExpect([]Step{{Receive: []byte("200")}}), "tls": NewTLS(TLSOptions{}),
	} {
		err := check(t, After([]byte(header), checker), addr)
		if got := <-first; got != header || (err != nil) != (name == "tls") {
			t.Errorf("%s: the server gets %q, the check %v", name, got, err)
		}
	}
	if After([]byte(header), NewTCP()) != NewTCP() {
		t.Error("a TCP check is no longer for the prober")
	}
}

func TestTCPOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	b := testnet.Listen(t, "unix", path)
	if err := check(t, NewTCP(), addrOf(t, "unix", path)); err != nil {
		t.Error(err)
	}
	b.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	wantError(t, "a socket without a listener", check(t, NewTCP(), addrOf(t, "unix", path)), "connect: connection refused")
}

func TestLocalErrors(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&net.OpError{Op: "dial", Err: &net.DNSError{}}, false},
		{connectError(unix.ECONNREFUSED), false},
		{connectError(unix.EADDRNOTAVAIL), true},
		{failed(t.Context(), "connect", &net.OpError{Op: "dial", Err: syscall.EMFILE}), true},
		{failed(t.Context(), "connect", &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}), false},
		{errConnectTimeout, false},
	} {
		if got := isLocal(test.err); got != test.want {
			t.Errorf("isLocal(%v) = %v, want %v", test.err, got, test.want)
		}
	}
}

func TestErrorsAreShort(t *testing.T) {
	long := strings.Repeat("ü", 1000)
	got := failed(t.Context(), "HTTP answer", errors.New(long)).Error()
	if want := "HTTP answer: " + strings.Repeat("ü", 100) + "…"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	got = failed(t.Context(), "HTTP answer", errors.New("x"+long)).Error()
	if want := "HTTP answer: x" + strings.Repeat("ü", 99) + "…"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}
