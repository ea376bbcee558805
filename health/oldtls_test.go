package health

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"l4proxy/internal/testenv"
)

// oldCertificate has an RSA key, without which there is no RSA key exchange.
func oldCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return certify(t, key)
}

// TestEveryTLSThatGoSpeaksPasses runs servers with one version and one cipher suite each. Without
// verify all pass; with verify, those of TLS 1.2 and 1.3 that crypto/tls offers by default.
func TestEveryTLSThatGoSpeaksPasses(t *testing.T) {
	rsaCertificate, rsaRoots := oldCertificate(t)
	ecdsaCertificate, ecdsaRoots := newCertificate(t)
	tried := 0
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		insecure := slices.ContainsFunc(tls.InsecureCipherSuites(), func(s *tls.CipherSuite) bool { return s.ID == suite.ID })
		for _, version := range suite.SupportedVersions {
			tried++
			what := tls.VersionName(version) + " " + suite.Name
			certificate, roots := rsaCertificate, rsaRoots
			if strings.Contains(suite.Name, "ECDSA") {
				certificate, roots = ecdsaCertificate, ecdsaRoots
			}
			server := serve(t, secured(&tls.Config{
				Certificates: []tls.Certificate{certificate}, CipherSuites: []uint16{suite.ID}, MinVersion: version, MaxVersion: version,
			}, func(*tls.Conn) {}))
			wantError(t, what, check(t, NewTLS(TLSOptions{}), server), "")
			want := ""
			switch {
			case version < tls.VersionTLS12:
				want = "the server refused the TLS handshake (alert: protocol version not supported)"
			case insecure:
				want = refused
			}
			wantError(t, what+", verified", check(t, NewTLS(TLSOptions{Verify: true, Roots: roots}), server), want)
		}
	}
	if tried < 30 {
		t.Errorf("only %d versions and suites", tried)
	}
}

// refused is the error when server and crypto/tls have nothing in common.
const refused = "the server refused the TLS handshake (alert: handshake failure)"

// TestOldServersOfOpenSSL checks servers of another implementation, set up like old servers.
func TestOldServersOfOpenSSL(t *testing.T) {
	certificate, _ := oldCertificate(t)
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, options, want string }{
		{"TLS 1.0", "-tls1 -cipher ALL:@SECLEVEL=0", ""},
		{"TLS 1.1", "-tls1_1 -cipher ALL:@SECLEVEL=0", ""},
		{"RSA key exchange", "-tls1_2 -cipher kRSA", ""},
		{"RSA key exchange of TLS 1.0", "-tls1 -cipher AES256-SHA:@SECLEVEL=0", ""},
		{"P-521", "-tls1_2 -groups P-521", ""},
		{"TLS 1.3", "-tls1_3", ""},
		// What crypto/tls does not support, as the documentation says.
		{"DHE", "-tls1_2 -cipher kDHE", refused},
		{"signatures with SHA-1", "-tls1_2 -cipher ECDHE:@SECLEVEL=0 -sigalgs RSA+SHA1", refused},
		{"Camellia", "-tls1_2 -cipher CAMELLIA", refused},
		{"CCM", "-tls1_2 -cipher AES256-CCM", refused},
		{"CBC with SHA-256 and a key of 256 bits", "-tls1_2 -cipher AES256-SHA256", refused},
		{"CBC with SHA-384", "-tls1_2 -cipher ECDHE-RSA-AES256-SHA384", refused},
		{"X448", "-tls1_3 -groups X448", refused},
		{"ffdhe2048", "-tls1_3 -groups ffdhe2048", refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := serveOpenSSL(t, file, strings.Fields(test.options)...)
			wantError(t, "tls", check(t, NewTLS(TLSOptions{}), server), test.want)
			wantError(t, "http", check(t, NewHTTP(HTTPOptions{TLS: &TLSOptions{}}), server), test.want)
		})
	}
}

// serveOpenSSL runs "openssl s_server -www", which answers each request with a page about its
// connection.
func serveOpenSSL(t *testing.T, file string, options ...string) net.Addr {
	t.Helper()
	args := append([]string{"s_server", "-accept", "127.0.0.1:0", "-www", "-cert", file, "-key", file}, options...)
	cmd := exec.Command(testenv.NeedTool(t, "openssl"), args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var port int
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if address, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			if _, err := fmt.Sscanf(address, "127.0.0.1:%d", &port); err == nil {
				return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
			}
		}
	}
	_ = cmd.Wait()
	t.Fatalf("openssl does not listen: %s", said.String())
	return nil
}
