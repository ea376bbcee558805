package clienthello

import (
	"context"
	"crypto/tls"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"l4proxy/internal/testenv"
)

var capture = flag.Bool("capture", false, "write testdata/*.hello with the clients of this machine")

// captures are the clients whose hellos lie in testdata. Each connects to 127.0.0.1 at a port and
// asks for the name www.example.com.
var captures = map[string]func(t *testing.T, port string){
	"go":              goClient(nil),
	"go-classic":      goClient([]tls.CurveID{tls.X25519, tls.CurveP256}),
	"go-mlkem1024":    goClient([]tls.CurveID{tls.SecP384r1MLKEM1024, tls.X25519MLKEM768}),
	"openssl":         command("openssl", "s_client", "-connect", "127.0.0.1:PORT", "-servername", "www.example.com", "-alpn", "h2,http/1.1"),
	"openssl-classic": command("openssl", "s_client", "-connect", "127.0.0.1:PORT", "-servername", "www.example.com", "-groups", "x25519:P-256", "-tls1_2"),
	"openssl-no-name": command("openssl", "s_client", "-connect", "127.0.0.1:PORT", "-noservername"),
	"curl":            command("curl", "-s", "--connect-to", "www.example.com:443:127.0.0.1:PORT", "https://www.example.com/"),
	"chromium": command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=DIR",
		"--host-resolver-rules=MAP www.example.com 127.0.0.1", "https://www.example.com:PORT/"),
}

// TestCapture writes testdata/NAME.hello: what the clients of this machine send first.
//
//	go test ./clienthello -run TestCapture -capture
func TestCapture(t *testing.T) {
	if !*capture {
		t.Skip("-capture not given: testdata stays as it is")
	}
	for name, client := range captures {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			got := make(chan []byte, 1)
			go func() { got <- firstHello(l) }()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			client(t, port)
			hello := <-got
			if hello == nil {
				t.Fatal("no hello came")
			}
			if err := os.WriteFile(filepath.Join("testdata", name+".hello"), hello, 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// firstHello returns the first bytes of the first client that sends a hello.
func firstHello(l net.Listener) []byte {
	for {
		c, err := l.Accept()
		if err != nil {
			return nil
		}
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		var b []byte
		for chunk := make([]byte, 4096); ; {
			n, err := c.Read(chunk)
			b = append(b, chunk[:n]...)
			if h, done, _ := Parse(b); done && h.TLS {
				return b
			}
			if err != nil {
				break
			}
		}
	}
}

// goClient is crypto/tls with these groups; nil means its defaults, which are post-quantum ones.
func goClient(groups []tls.CurveID) func(*testing.T, string) {
	return func(t *testing.T, port string) {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		config := &tls.Config{ServerName: "www.example.com", NextProtos: []string{"h2", "http/1.1"}, CurvePreferences: groups}
		tls.Client(c, config).Handshake() // the server ends it after the hello
	}
}

// command runs a program until the server has closed its connection.
func command(name string, args ...string) func(*testing.T, string) {
	return func(t *testing.T, port string) {
		path := testenv.NeedTool(t, name)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, fill(args, "PORT", port, "DIR", t.TempDir())...)
		cmd.Stdin, cmd.Stdout = nil, io.Discard
		cmd.WaitDelay = time.Second
		cmd.Run() // fails: the server is none
	}
}
