package health

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
)

// TLSOptions say how a handshake is made.
type TLSOptions struct {
	// ServerName is asked for (SNI), and what a verified certificate must be for. "" means the
	// backend's configured name. If the backend is configured by an IP address, no name is sent,
	// and a verified certificate must be for that address.
	ServerName string
	// Verify demands a certificate that is valid for the name, now, and from an issuer in Roots,
	// and TLS 1.2 or 1.3 with a cipher suite that crypto/tls offers by default. Without it, any
	// certificate, and any version and cipher suite that crypto/tls supports will do.
	Verify bool
	// Roots are the issuers; nil means the system's.
	Roots *x509.CertPool
}

type tlsChecker struct {
	options TLSOptions
	before  []byte // see After
}

// NewTLS returns a Checker that passes if a TLS handshake succeeds.
func NewTLS(o TLSOptions) Checker { return tlsChecker{options: o} }

func (c tlsChecker) Check(ctx context.Context, addr net.Addr, name string) error {
	return withConn(ctx, addr, c.before, func(conn net.Conn) error {
		secured, err := c.options.handshake(ctx, conn, addr, name)
		if err != nil {
			return err
		}
		_ = secured.Close() // sends close_notify, so that the server does not log a broken connection
		return nil
	})
}

// everySuite is all cipher suites of TLS 1.0 to 1.2 that crypto/tls supports, including those that
// it does not offer by default: RSA key exchange, 3DES, RC4. Those of TLS 1.3 are always offered.
var everySuite = func() (ids []uint16) {
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		ids = append(ids, suite.ID)
	}
	return ids
}()

func (o TLSOptions) handshake(ctx context.Context, conn net.Conn, addr net.Addr, name string) (*tls.Conn, error) {
	config := &tls.Config{
		ServerName: cmp.Or(o.ServerName, name), RootCAs: o.Roots, MinVersion: tls.VersionTLS12,
	}
	if !o.Verify {
		// A check finds out whether the server works. Its identity and the strength of its
		// encryption are for its clients to judge.
		config.InsecureSkipVerify = true
		config.MinVersion, config.CipherSuites = tls.VersionTLS10, everySuite
	}
	if a, ok := addr.(*net.TCPAddr); ok && config.ServerName == "" {
		config.ServerName = a.IP.String() // never sent: RFC 6066 section 3
	}
	if o.Verify && config.ServerName == "" {
		return nil, errors.New("TLS handshake: a certificate cannot be verified without a server name")
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "remote error" { // an alert, see crypto/tls
			return nil, fmt.Errorf("the server refused the TLS handshake (alert: %s)", strings.TrimPrefix(op.Err.Error(), "tls: "))
		}
		return nil, failed(ctx, "TLS handshake", err)
	}
	return secured, nil
}
