package health

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// StatusRange is a range of HTTP status codes, both ends included.
type StatusRange struct{ From, To int }

func (r StatusRange) String() string {
	if r.From == r.To {
		return strconv.Itoa(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// HTTPOptions describe the request and the expected answer. The zero value requests / and expects a
// status of 200 to 399.
type HTTPOptions struct {
	Method string        // "" means GET
	Path   string        // "" means /
	Host   string        // "" means the backend's name or address
	Status []StatusRange // good ones; empty means 200-399
	Body   string        // what the body must contain within its first 64 KiB; "" means no matter what
	TLS    *TLSOptions   // nil means without TLS
}

// maxInformational is how many 1xx answers may come before the final one.
const maxInformational = 5

type httpChecker struct {
	options HTTPOptions
	before  []byte // see After
}

// NewHTTP returns a Checker that makes one HTTP/1.1 request on a connection of its own. Redirects
// are not followed.
func NewHTTP(o HTTPOptions) Checker {
	o.Method, o.Path = cmp.Or(o.Method, http.MethodGet), cmp.Or(o.Path, "/")
	if len(o.Status) == 0 {
		o.Status = []StatusRange{{200, 399}}
	}
	return httpChecker{options: o}
}

func (c httpChecker) Check(ctx context.Context, addr net.Addr, name string) error {
	return withConn(ctx, addr, c.before, func(conn net.Conn) error {
		if c.options.TLS != nil {
			secured, err := c.options.TLS.handshake(ctx, conn, addr, name)
			if err != nil {
				return err
			}
			defer func() { _ = secured.Close() }()
			conn = secured
		}
		return c.talk(ctx, conn, cmp.Or(c.options.Host, c.hostOf(addr, name)))
	})
}

// talk sends the request and judges the answer. The answer may come before the request is sent:
// some servers answer each client as it connects, and close.
func (c httpChecker) talk(ctx context.Context, conn net.Conn, host string) error {
	_, unsent := io.WriteString(conn, c.request(host))
	err := c.answer(ctx, conn)
	if err != nil && unsent != nil {
		return failed(ctx, "send the request", unsent)
	}
	return err
}

func (c httpChecker) request(host string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: l4proxy\r\nAccept: */*\r\nConnection: close\r\n\r\n",
		c.options.Method, c.options.Path, host)
}

// hostOf is the Host header for a server that is configured by name or, if name is "", by its
// address. Like clients, it leaves the scheme's default port out (RFC 9110 section 4.2.3). It
// leaves out a zone, which only this machine knows (RFC 6874 section 3).
func (c httpChecker) hostOf(addr net.Addr, name string) string {
	a, ok := addr.(*net.TCPAddr)
	if !ok {
		return "localhost"
	}
	host := cmp.Or(name, a.IP.String())
	usual := 80
	if c.options.TLS != nil {
		usual = 443
	}
	if a.Port != usual {
		return net.JoinHostPort(host, strconv.Itoa(a.Port))
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// answer reads one answer and judges it.
func (c httpChecker) answer(ctx context.Context, r io.Reader) error {
	in := newAnswerReader(r)
	for range maxInformational {
		status, err := in.status()
		if err != nil {
			return failed(ctx, "HTTP answer", err)
		}
		informational := 100 <= status && status < 200 && status != http.StatusSwitchingProtocols
		if !informational && !c.expected(status) {
			return fmt.Errorf("status %d, expected %s", status, c.ranges())
		}
		if !informational && c.options.Body == "" {
			return nil
		}
		framing, err := in.header()
		if err != nil {
			return failed(ctx, "HTTP answer", err)
		}
		if informational {
			continue // 100 Continue, 103 Early Hints (RFC 9110 section 15.2)
		}
		body := in.body(framing)
		if c.options.Method == http.MethodHead || status < 200 || status == http.StatusNoContent || status == http.StatusNotModified {
			body = http.NoBody
		}
		var looked finder
		if err := looked.until(ctx, body, []byte(c.options.Body)); err != nil {
			return fmt.Errorf("body: %w", err)
		}
		return nil
	}
	return fmt.Errorf("%d informational answers, expected one with a status of %s", maxInformational, c.ranges())
}

func (c httpChecker) expected(status int) bool {
	for _, r := range c.options.Status {
		if r.From <= status && status <= r.To {
			return true
		}
	}
	return false
}

func (c httpChecker) ranges() string {
	var all []string
	for _, r := range c.options.Status {
		all = append(all, r.String())
	}
	return strings.Join(all, ", ")
}
