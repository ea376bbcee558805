package health

import (
	"bufio"
	"cmp"
	"context"
	"errors"
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

// HTTPOptions say what is asked for, and which answers are good ones. The zero
// value asks for / and takes a status of 200 to 399.
type HTTPOptions struct {
	Method string        // "" means GET
	Path   string        // "" means /
	Host   string        // "" means the backend's address
	Status []StatusRange // good ones; empty means 200-399
	Body   string        // what the body must contain within its first 64 KiB; "" means no matter what
	TLS    *TLSOptions   // nil means without TLS
}

const (
	// maxHeader is the most that the lines before the body may have.
	maxHeader = 64 << 10
	// maxInformational is how many answers of 1xx may come before the answer.
	maxInformational = 5
)

type httpChecker struct{ options HTTPOptions }

// NewHTTP returns a Checker that makes one HTTP/1.1 request on a connection of
// its own. Redirects are not followed.
func NewHTTP(o HTTPOptions) Checker {
	o.Method, o.Path = cmp.Or(o.Method, http.MethodGet), cmp.Or(o.Path, "/")
	if len(o.Status) == 0 {
		o.Status = []StatusRange{{200, 399}}
	}
	return httpChecker{o}
}

func (c httpChecker) Check(ctx context.Context, addr net.Addr) error {
	return withConn(ctx, addr, func(conn net.Conn) error {
		if c.options.TLS != nil {
			secured, err := c.options.TLS.handshake(ctx, conn, addr)
			if err != nil {
				return err
			}
			defer func() { _ = secured.Close() }()
			conn = secured
		}
		if _, err := io.WriteString(conn, c.request(addr)); err != nil {
			return failed(ctx, "send the request", err)
		}
		return c.answer(ctx, conn)
	})
}

func (c httpChecker) request(addr net.Addr) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: l4proxy\r\nAccept: */*\r\nConnection: close\r\n\r\n",
		c.options.Method, c.options.Path, cmp.Or(c.options.Host, hostOf(addr)))
}

// hostOf is the Host header for a server that has no name. A zone means nothing
// to others (RFC 6874 section 3).
func hostOf(addr net.Addr) string {
	a, ok := addr.(*net.TCPAddr)
	if !ok {
		return "localhost"
	}
	return (&net.TCPAddr{IP: a.IP, Port: a.Port}).String()
}

// answer reads one answer and judges it.
func (c httpChecker) answer(ctx context.Context, r io.Reader) error {
	limited := &io.LimitedReader{R: r, N: maxHeader}
	buffered := bufio.NewReader(limited)
	request := &http.Request{Method: c.options.Method} // an answer to HEAD has no body
	for range maxInformational {
		answer, err := http.ReadResponse(buffered, request)
		switch {
		case err == nil:
		case limited.N <= 0:
			return errors.New("HTTP answer: the header is longer than 64 KiB")
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("HTTP answer: closed by the server before the end of the header")
		default:
			return failed(ctx, "HTTP answer", err)
		}
		if answer.StatusCode < 200 && answer.StatusCode != http.StatusSwitchingProtocols {
			continue // 100 Continue, 103 Early Hints (RFC 9110 section 15.2)
		}
		if !c.expected(answer.StatusCode) {
			return fmt.Errorf("status %d, expected %s", answer.StatusCode, c.ranges())
		}
		if c.options.Body == "" {
			return nil
		}
		limited.N = 2 * maxReceived // with the sizes of chunks, beside what is looked at
		var body finder
		if err := body.until(ctx, answer.Body, []byte(c.options.Body)); err != nil {
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
