package peers

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

const (
	nginxLarge  = 100 << 20 // size of the file /large
	nginxUpload = 32 << 20
	nginxSmall  = 4 << 10
)

// nginx is a running server with the files /large and /small. It accepts uploads under /upload/ and
// logs one line per request.
type nginx struct {
	dir   string
	certs string // the certificate of its HTTPS port, in PEM
	http  int
	https int
	bare  int // answers every request with three bytes, and logs nothing
}

const nginxConfig = `
daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr notice;
%[2]s
events { worker_connections 1024; }
http {
	log_format account '$request_length $bytes_sent $status $uri';
	client_body_temp_path %[1]s/tmp-body;
	proxy_temp_path %[1]s/tmp-proxy;
	fastcgi_temp_path %[1]s/tmp-fastcgi;
	uwsgi_temp_path %[1]s/tmp-uwsgi;
	scgi_temp_path %[1]s/tmp-scgi;
	client_max_body_size 0;
	sendfile on;
	tcp_nopush on;
	root %[1]s/files;
	access_log %[1]s/access.log account;
	server {
		listen 127.0.0.1:%[3]d;
		location /upload/ { dav_methods PUT; }
	}
	server {
		listen 127.0.0.1:%[4]d ssl;
		access_log off;
		ssl_certificate %[1]s/cert.pem;
		ssl_certificate_key %[1]s/key.pem;
	}
	server {
		listen 127.0.0.1:%[5]d;
		access_log off;
		keepalive_requests 100000000;
		location / { return 200 "ok\n"; }
	}
}
`

func startNginx(t testing.TB, large, small []byte) nginx {
	t.Helper()
	n := nginx{dir: tempDir(t), http: testnet.FreePort(t), https: testnet.FreePort(t), bare: testnet.FreePort(t)}
	n.certs = filepath.Join(n.dir, "cert.pem")
	if err := os.MkdirAll(filepath.Join(n.dir, "files", "upload"), 0o777); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(n.dir, "files", "large"), large, 0o644)
	writeFile(t, filepath.Join(n.dir, "files", "small"), small, 0o644)
	selfSigned(t, n.certs, filepath.Join(n.dir, "key.pem"))
	user := "" // only root may change to another user, which could not enter the directory
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	config := filepath.Join(n.dir, "nginx.conf")
	writeFile(t, config, fmt.Appendf(nil, nginxConfig, n.dir, user, n.http, n.https, n.bare), 0o644)
	p := command{argv: []string{testenv.NeedTool(t, "nginx"), "-p", n.dir, "-e", "stderr", "-c", config}}.start(t)
	p.says(t, &p.stderr, "start worker process ")
	return n
}

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t testing.TB, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "l4proxy test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644)
	writeFile(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}

// takeAccount returns the bytes that nginx has received and sent since the last call, and the
// number of requests.
func (n nginx) takeAccount(t testing.TB) (in, out uint64, requests int) {
	t.Helper()
	path := filepath.Join(n.dir, "access.log")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil { // nginx appends
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var received, sent uint64
		if _, err := fmt.Sscan(line, &received, &sent); err != nil {
			t.Fatalf("access log: %v: %q", err, line)
		}
		in, out, requests = in+received, out+sent, requests+1
	}
	return in, out, requests
}

func TestPeerNginx(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	wrk, curl := testenv.NeedTool(t, "wrk"), testenv.NeedTool(t, "curl")
	large, small := noise(2, nginxLarge), noise(3, nginxSmall)
	server := startNginx(t, large, small)

	eachEngine(t, func(t *testing.T, engine string) {
		p := startProxy(t, engine, fmt.Sprintf(`
listeners:
  wrk: {bind: "127.0.0.1:0", pool: bare}
  http: {bind: "127.0.0.1:0", pool: http}
  https: {bind: "127.0.0.1:0", pool: https}
pools:
  bare: {backends: ["127.0.0.1:%d"]}
  http: {backends: ["127.0.0.1:%d"]}
  https: {backends: ["127.0.0.1:%d"]}
`, server.bare, server.http, server.https))

		const wrkConnections, closings = 64, 200
		requests := runWrk(t, wrk, p.address(t, "wrk"), wrkConnections)
		httpURL, httpsURL := "http://"+p.address(t, "http"), "https://"+p.address(t, "https")
		download(t, curl, large, httpURL+"/large")
		upload(t, curl, server, large[:nginxUpload], httpURL+"/upload/"+engine)
		closeEachTime(t, curl, httpURL+"/small", closings)
		download(t, curl, large, httpsURL+"/large", "--cacert", server.certs)

		all := p.stop(t)
		// wrk first connects once to test the address. At its end, it answers responses that still
		// arrive with resets.
		wrked := all.of("wrk")
		within(t, "connections of wrk", uint64(len(wrked)), wrkConnections, wrkConnections+1)
		wrked.ended(t, "wrk", len(wrked), "closed client", "reset client")
		checkWrk(t, wrked, server, requests, wrkConnections)

		http := all.of("http")
		in, out := http.bytes()
		wantIn, wantOut, n := server.takeAccount(t)
		if in != wantIn || out != wantOut || n != closings+2 {
			t.Errorf("HTTP: bytes in and out %d and %d for %d requests, nginx has %d and %d for %d",
				in, out, closings+2, wantIn, wantOut, n)
		}
		// With "Connection: close" the server closes, unless the client is faster: it knows the
		// length of the response.
		http.ended(t, "HTTP", closings+2, "closed client", "closed backend")
		https := all.of("https")
		// curl sends close_notify (RFC 8446 section 6.1) before it closes, and nginx closes when it
		// reads that.
		https.ended(t, "HTTPS", 1, "closed client", "closed backend")
		_, out = https.bytes()
		within(t, "HTTPS bytes out", out, nginxLarge, nginxLarge+nginxLarge/100) // records of 16 KiB with 22 bytes around each
	})
}

var (
	wrkRequests = regexp.MustCompile(`(?m)^\s+(\d+) requests in `)
	wrkTrouble  = regexp.MustCompile(`(?m)^\s+(Socket errors|Non-2xx or 3xx responses):.*$`)
)

// runWrk loads the address for two seconds and returns the number of answered requests.
func runWrk(t *testing.T, wrk, address string, connections int) uint64 {
	t.Helper()
	out := command{argv: []string{wrk, "-t", "1", "-c", strconv.Itoa(connections), "-d", "2s", "http://" + address + "/"}}.run(t)
	if trouble := wrkTrouble.FindString(out); trouble != "" {
		t.Errorf("wrk: %s", strings.TrimSpace(trouble))
	}
	m := wrkRequests.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("wrk says nothing of requests:\n%s", out)
	}
	n, _ := strconv.ParseUint(m[1], 10, 64)
	if n == 0 {
		t.Error("wrk: no request was answered")
	}
	return n
}

// checkWrk compares bytes with requests. All responses have the same length, and each connection
// may have received one more than wrk counted.
func checkWrk(t *testing.T, cs connections, server nginx, requests uint64, connections int) {
	t.Helper()
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", server.bare), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	var answer []byte
	for buffer := make([]byte, 4096); !bytes.HasSuffix(answer, []byte("\r\n\r\nok\n")); {
		n, err := c.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		answer = append(answer, buffer[:n]...)
	}
	_, out := cs.bytes()
	size := uint64(len(answer))
	within(t, "bytes out to wrk", out, requests*size, (requests+uint64(connections))*size)
}

// download fetches a URL and compares the content.
func download(t *testing.T, curl string, want []byte, url string, more ...string) {
	t.Helper()
	d := newDigest()
	argv := []string{curl, "--silent", "--show-error", "--fail", "--max-time", "30", url}
	command{argv: append(argv, more...), stdout: d}.run(t)
	if d.n != uint64(len(want)) || d.sum() != sha256Of(want) {
		t.Errorf("%s: %d bytes with SHA-256 %s, want %d with %s", url, d.n, d.sum(), len(want), sha256Of(want))
	}
}

// upload uploads a file and compares what nginx has stored.
func upload(t *testing.T, curl string, server nginx, data []byte, url string) {
	t.Helper()
	source := filepath.Join(server.dir, "source")
	writeFile(t, source, data, 0o644)
	command{argv: []string{
		curl, "--silent", "--show-error", "--fail", "--max-time", "30",
		"--header", "Expect:", // nginx does not count "100 Continue"
		"--upload-file", source, url,
	}}.run(t)
	_, path, _ := strings.Cut(url, "/upload/")
	got, err := os.ReadFile(filepath.Join(server.dir, "files", "upload", path))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("upload: %d bytes with SHA-256 %s arrived, want %d with %s", len(got), sha256Of(got), len(data), sha256Of(data))
	}
}

// closeEachTime makes n requests one after another, each on its own connection.
func closeEachTime(t *testing.T, curl, url string, n int) {
	t.Helper()
	out := command{argv: []string{
		curl, "--silent", "--show-error", "--fail", "--max-time", "30", "--header", "Connection: close",
		"--output", os.DevNull, "--write-out", `%{http_code} %{num_connects} %{size_download}\n`,
		fmt.Sprintf("%s?[1-%d]", url, n),
	}}.run(t)
	if want := strings.Repeat(fmt.Sprintf("200 1 %d\n", nginxSmall), n); out != want {
		t.Errorf("%d requests on connections of their own: %s", n, tail(out))
	}
}
