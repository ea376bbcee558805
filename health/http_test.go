package health

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"l4proxy/internal/testnet"
)

// answers is a handler that reads a request and says something.
func answers(text string) func(testnet.Conn) {
	return func(c testnet.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			says(text)(c)
		}
	}
}

func TestHTTPAnswers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, test := range []struct {
		name    string
		options HTTPOptions
		answer  string
		want    string
	}{
		{"200", HTTPOptions{}, ok + "\r\n", ""},
		{"399", HTTPOptions{}, "HTTP/1.1 399 Odd\r\n\r\n", ""},
		{"HTTP/1.0", HTTPOptions{}, "HTTP/1.0 204 No Content\r\n\r\n", ""},
		{"199 is informational", HTTPOptions{}, "HTTP/1.1 199 Odd\r\n\r\n" + ok + "\r\n", ""},
		{"400", HTTPOptions{}, "HTTP/1.1 400 Bad Request\r\n\r\n", "status 400, expected 200-399"},
		{"503", HTTPOptions{}, "HTTP/1.1 503 Service Unavailable\r\n\r\n", "status 503, expected 200-399"},
		{"one status", HTTPOptions{Status: []StatusRange{{204, 204}}}, ok + "\r\n", "status 200, expected 204"},
		{"two ranges, no", HTTPOptions{Status: []StatusRange{{200, 299}, {401, 401}}}, "HTTP/1.1 302 Found\r\n\r\n", "status 302, expected 200-299, 401"},
		{"two ranges, yes", HTTPOptions{Status: []StatusRange{{200, 299}, {401, 401}}}, "HTTP/1.1 401 Unauthorized\r\n\r\n", ""},
		{"101 is an answer", HTTPOptions{Status: []StatusRange{{101, 101}}}, "HTTP/1.1 101 Switching Protocols\r\n\r\n", ""},
		{"100, then 200", HTTPOptions{}, "HTTP/1.1 100 Continue\r\n\r\n" + ok + "\r\n", ""},
		{
			"100 for ever", HTTPOptions{}, strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100),
			"5 informational answers, expected one with a status of 200-399",
		},

		{"garbage", HTTPOptions{}, "SSH-2.0-OpenSSH_9.2\r\n", `HTTP answer: malformed HTTP response "SSH-2.0-OpenSSH_9.2"`},
		{"nothing", HTTPOptions{}, "", "HTTP answer: closed by the server before the end of the status line"},
		{"a long header", HTTPOptions{Body: "x"}, ok + strings.Repeat("A: b\r\n", maxHeader/6), "HTTP answer: the header is longer than 256 KiB"},
		{"a long line", HTTPOptions{Body: "x"}, ok + "A: " + strings.Repeat("b", maxHeader), "HTTP answer: the header is longer than 256 KiB"},
		{"a status line without an end", HTTPOptions{}, "HTTP/1.1 200 " + strings.Repeat("x", maxHeader), "HTTP answer: the header is longer than 256 KiB"},
		{"a long status line", HTTPOptions{}, strings.Repeat("x", 1000) + "\r\n", `HTTP answer: malformed HTTP response "` + strings.Repeat("x", 200-len(`malformed HTTP response "`)) + "…"},
		{"a body that is not looked at", HTTPOptions{}, ok + "Content-Length: 1000000000\r\n\r\n", ""},

		{"text in the body", HTTPOptions{Body: "ready"}, ok + "Content-Length: 13\r\n\r\nI am ready ok", ""},
		{"text in chunks", HTTPOptions{Body: "ready"}, ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n", ""},
		{"text up to the end of the stream", HTTPOptions{Body: "ready"}, ok + "\r\nready", ""},
		{"text before an end that never comes", HTTPOptions{Body: "ready"}, ok + "Content-Length: 1000000000\r\n\r\nready", ""},
		{"text after the body", HTTPOptions{Body: "ready"}, ok + "Content-Length: 4\r\n\r\nnot ready", `body: received "not " before the end, expected "ready"`},
		{"text in the header", HTTPOptions{Body: "ready"}, ok + "X: ready\r\nContent-Length: 0\r\n\r\n", `body: received nothing before the end, expected "ready"`},
		{"half a body", HTTPOptions{Body: "ready"}, ok + "Content-Length: 13\r\n\r\nI am", `body: received "I am", expected "ready": unexpected EOF`},
		{
			"a long body", HTTPOptions{Body: "ready"}, ok + "\r\n" + strings.Repeat("x", maxReceived) + "ready",
			`body: received 65536 bytes that begin with "` + strings.Repeat("x", 64) + `"…, expected "ready"`,
		},
		{
			"a body of tiny chunks", HTTPOptions{Body: "ready"}, ok + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", maxReceived),
			`body: received "` + strings.Repeat("x", 64) + `"…, expected "ready": unexpected EOF`,
		},
		{"a status that is wrong, a body that is right", HTTPOptions{Body: "ready"}, "HTTP/1.1 500 No\r\n\r\nready", "status 500, expected 200-399"},
		{"HEAD has no body", HTTPOptions{Method: "HEAD"}, ok + "Content-Length: 5\r\n\r\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, "http", check(t, NewHTTP(test.options), serve(t, answers(test.answer))), test.want)
		})
	}
}

func TestHTTPRequest(t *testing.T) {
	requests := make(chan *http.Request, 1)
	handle := func(c io.ReadWriter) {
		request, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			t.Error(err)
		}
		requests <- request
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	}
	certificate, _ := newCertificate(t)
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	plain := serve(t, func(c testnet.Conn) { handle(c) })
	overTLS := serve(t, secured(config, func(c *tls.Conn) { handle(c) }))
	for _, test := range []struct {
		name               string
		options            HTTPOptions
		addr               net.Addr
		backend            string
		method, path, host string
	}{
		{"defaults", HTTPOptions{}, plain, "", "GET", "/", plain.String()},
		{"by name", HTTPOptions{}, plain, "localhost", "GET", "/", "localhost:" + strconv.Itoa(plain.(*net.TCPAddr).Port)},
		{"all set", HTTPOptions{Method: "HEAD", Path: "/healthz?deep=1", Host: "db.example.com"}, plain, "localhost", "HEAD", "/healthz?deep=1", "db.example.com"},
		{"over TLS", HTTPOptions{TLS: &TLSOptions{}}, overTLS, "", "GET", "/", overTLS.String()},
	} {
		if err := checkNamed(t, NewHTTP(test.options), test.addr, test.backend); err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		r := <-requests
		if r.Method != test.method || r.RequestURI != test.path || r.Host != test.host || !r.Close || r.ProtoMinor != 1 {
			t.Errorf("%s: %s %s of %s, close %v, %s", test.name, r.Method, r.RequestURI, r.Host, r.Close, r.Proto)
		}
	}
}

func TestHostOf(t *testing.T) {
	plain, secured := NewHTTP(HTTPOptions{}).(httpChecker), NewHTTP(HTTPOptions{TLS: &TLSOptions{}}).(httpChecker)
	tcp := func(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }
	for _, test := range []struct {
		addr           net.Addr
		name           string
		plain, secured string
	}{
		{tcp("127.0.0.1", 8080), "", "127.0.0.1:8080", "127.0.0.1:8080"},
		{tcp("127.0.0.1", 80), "", "127.0.0.1", "127.0.0.1:80"},
		{tcp("127.0.0.1", 443), "", "127.0.0.1:443", "127.0.0.1"},
		{tcp("127.0.0.1", 8080), "localhost", "localhost:8080", "localhost:8080"},
		{tcp("127.0.0.1", 80), "localhost", "localhost", "localhost:80"},
		{tcp("2001:db8::1", 443), "db.example.com.", "db.example.com.:443", "db.example.com."},
		{tcp("2001:db8::1", 81), "", "[2001:db8::1]:81", "[2001:db8::1]:81"},
		{tcp("2001:db8::1", 80), "", "[2001:db8::1]", "[2001:db8::1]:80"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 443, Zone: "eth0"}, "", "[fe80::1]:443", "[fe80::1]"},
		{&net.UnixAddr{Name: "/run/web", Net: "unix"}, "", "localhost", "localhost"},
	} {
		if got := plain.hostOf(test.addr, test.name); got != test.plain {
			t.Errorf("%v %q: Host is %q, want %q", test.addr, test.name, got, test.plain)
		}
		if got := secured.hostOf(test.addr, test.name); got != test.secured {
			t.Errorf("%v %q over TLS: Host is %q, want %q", test.addr, test.name, got, test.secured)
		}
	}
}

// FuzzHTTPAnswer feeds an answer whole and byte by byte: the verdict must be the same, and what is
// read of it bounded.
func FuzzHTTPAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\n\r\nready", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nready\r\n0\r\n\r\n", "HTTP/1.1 503 No\r\n\r\n", "SSH-2.0-x\r\n",
	} {
		f.Add([]byte(seed))
	}
	c := NewHTTP(HTTPOptions{Body: "ready"}).(httpChecker)
	f.Fuzz(func(t *testing.T, answer []byte) {
		whole := bytes.NewReader(answer)
		err := c.answer(context.Background(), whole)
		if read := len(answer) - whole.Len(); read > maxHeader+2*maxReceived {
			t.Errorf("read %d bytes", read)
		}
		piecewise := c.answer(context.Background(), oneByte{bytes.NewReader(answer)})
		if (err == nil) != (piecewise == nil) {
			t.Errorf("whole: %v, byte by byte: %v", err, piecewise)
		}
	})
}

// oneByte reads one byte at a time.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }
