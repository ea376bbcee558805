package health

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

const serverName = "db.example.com"

// newCertificate returns a certificate for serverName and 127.0.0.1 that is its own issuer, and a
// pool in which it is one.
func newCertificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return certify(t, key)
}

// certify is newCertificate for a key.
func certify(t testing.TB, key crypto.Signer) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "l4proxy test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{serverName}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// secured is a handler that speaks TLS, and hands on to then.
func secured(config *tls.Config, then func(*tls.Conn)) func(testnet.Conn) {
	return func(c testnet.Conn) {
		server := tls.Server(c, config)
		if server.Handshake() == nil {
			then(server)
			_ = server.Close()
		}
		_, _ = io.Copy(io.Discard, c) // a reset would discard the alert with the reason
	}
}

func TestTLS(t *testing.T) {
	certificate, roots := newCertificate(t)
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	asked := make(chan string, 1)
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		asked <- hello.ServerName
		return nil, nil
	}
	server := serve(t, secured(config, func(*tls.Conn) {}))
	for _, test := range []struct {
		name    string
		options TLSOptions
		backend string
		sni     string
		want    string
	}{
		{"any certificate at a name", TLSOptions{}, serverName, serverName, ""},
		{"any certificate at a name, by another", TLSOptions{ServerName: "other.example.com"}, serverName, "other.example.com", ""},
		{"any certificate by an IP address", TLSOptions{ServerName: "127.0.0.1"}, serverName, "", ""},
		{"verified at a name", TLSOptions{Verify: true, Roots: roots}, serverName, serverName, ""},
		{"verified at a name with a dot", TLSOptions{Verify: true, Roots: roots}, serverName + ".", serverName, ""},
		{
			"verified at another name", TLSOptions{Verify: true, Roots: roots}, "other.example.com", "other.example.com",
			"TLS handshake: tls: failed to verify certificate: x509: certificate is valid for db.example.com, not other.example.com",
		},
		{"verified at another name by IP address", TLSOptions{ServerName: "127.0.0.1", Verify: true, Roots: roots}, "other.example.com", "", ""},
		{"any certificate", TLSOptions{}, "", "", ""},
		{"any certificate by name", TLSOptions{ServerName: "other.example.com"}, "", "other.example.com", ""},
		{"verified by name", TLSOptions{ServerName: serverName, Verify: true, Roots: roots}, "", serverName, ""},
		{"verified by address", TLSOptions{Verify: true, Roots: roots}, "", "", ""},
		{
			"another name", TLSOptions{ServerName: "other.example.com", Verify: true, Roots: roots}, "", "other.example.com",
			"TLS handshake: tls: failed to verify certificate: x509: certificate is valid for db.example.com, not other.example.com",
		},
		{
			"an unknown issuer", TLSOptions{ServerName: serverName, Verify: true, Roots: x509.NewCertPool()}, "", serverName,
			"TLS handshake: tls: failed to verify certificate: x509: certificate signed by unknown authority*",
		},
	} {
		err := checkNamed(t, NewTLS(test.options), server, test.backend)
		wantError(t, test.name, err, test.want)
		if sni := <-asked; sni != test.sni {
			t.Errorf("%s: asked for %q, want %q", test.name, sni, test.sni)
		}
	}
}

func TestTLSOfServersThatDoNotSpeakIt(t *testing.T) {
	for _, test := range []struct{ name, says, want string }{
		{"garbage", "HTTP/1.1 400 Bad Request\r\n\r\n", "TLS handshake: tls: first record does not look like a TLS handshake"},
		{"half a record", "\x16\x03\x03\x00\x50\x02", "TLS handshake: unexpected EOF"},
		{"nothing", "", "TLS handshake: EOF"},
	} {
		wantError(t, test.name, check(t, NewTLS(TLSOptions{}), serve(t, says(test.says))), test.want)
	}
}

func TestTLSOnAUnixSocket(t *testing.T) {
	certificate, roots := newCertificate(t)
	path := filepath.Join(t.TempDir(), "socket")
	testnet.Serve(t, "unix", path, secured(&tls.Config{Certificates: []tls.Certificate{certificate}}, func(*tls.Conn) {}))
	addr := addrOf(t, "unix", path)
	wantError(t, "by name", check(t, NewTLS(TLSOptions{ServerName: serverName, Verify: true, Roots: roots}), addr), "")
	wantError(t, "without a name", check(t, NewTLS(TLSOptions{Verify: true, Roots: roots}), addr),
		"TLS handshake: a certificate cannot be verified without a server name")
}
