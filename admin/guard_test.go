package admin_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"l4proxy/admin"
)

var (
	read   = request{method: "GET", path: "/api/v1/status"}
	change = request{method: "POST", path: "/api/v1/reload", body: `{"dry_run":true}`}
	probe  = request{method: "GET", path: "/readyz"}
)

// The token is needed for what the type of the address says.
func TestToken(t *testing.T) {
	const yes, no = http.StatusOK, http.StatusUnauthorized
	for _, c := range []struct {
		name, network       string
		options             []func(*admin.Options)
		read, change, probe int // without the token
	}{
		{"loopback", "tcp", nil, yes, yes, yes},
		{"loopback with token", "tcp", []func(*admin.Options){withToken}, yes, no, yes},
		{"reachable", "tcp", []func(*admin.Options){faraway, withToken}, no, no, yes},
		{"unix", "unix", nil, yes, yes, yes},
		{"unix with token", "unix", []func(*admin.Options){withToken}, yes, yes, yes},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, c.network, c.options...)
			for _, q := range []struct {
				request
				want int
			}{{read, c.read}, {change, c.change}, {probe, c.probe}} {
				for _, wrong := range []map[string]string{
					nil, bearer("another"), bearer(""), {"Authorization": token}, {"Authorization": "Basic " + token},
					bearer(token + "x"), bearer(token[:len(token)-1]), bearer("a " + token),
				} {
					q.header = wrong
					code, header, body := s.do(q.request)
					if code != q.want || (code == no) != (header.Get("WWW-Authenticate") != "") {
						t.Errorf("%s with %v: %d %s, want %d", q.path, wrong, code, body, q.want)
					}
					if strings.Contains(body, token) {
						t.Errorf("the answer has the token: %s", body)
					}
				}
				for _, right := range []string{"Bearer " + token, "bearer " + token, "Bearer  " + token + " "} {
					q.header = map[string]string{"Authorization": right}
					if code, _, body := s.do(q.request); code != yes {
						t.Errorf("%s with the token: %d %s", q.path, code, body)
					}
				}
			}
			for _, call := range s.fake.taken() {
				if c.change == no && call == nil {
					t.Errorf("the proxy got %+v", call)
				}
			}
			if strings.Contains(s.log.String(), token) {
				t.Errorf("the log has the token:\n%s", s.log.String())
			}
		})
	}
}

// A refused change does nothing.
func TestRefusedChangesDoNothing(t *testing.T) {
	s := serve(t, "tcp", withToken)
	evil := change
	evil.host, evil.header = "evil.example", bearer(token)
	cross := change
	cross.header = map[string]string{"Authorization": "Bearer " + token, "Origin": "http://evil.example"}
	for _, q := range []request{change, evil, cross} {
		if code, _, body := s.do(q); code < 400 {
			t.Errorf("%+v: %d %s", q, code, body)
		}
	}
	if got := s.fake.taken(); got != nil {
		t.Errorf("the proxy got %+v", got)
	}
}

// On a loopback address, only its own names are served: the name of another site may lead here.
func TestHost(t *testing.T) {
	s := serve(t, "tcp", func(o *admin.Options) { o.Address.Host = "admin.test" })
	port := s.address[strings.LastIndexByte(s.address, ':'):]
	for host, ok := range map[string]bool{
		"localhost" + port: true, "LOCALHOST." + port: true, "127.0.0.1" + port: true, "127.1.2.3" + port: true,
		"[::1]" + port: true, "[::ffff:127.0.0.1]" + port: true, "admin.test" + port: true, "Admin.Test" + port: true,
		"evil.example" + port: false, "evil.example": false, "localhost": false, "localhost:1": false, "127.0.0.1": false,
		"10.0.0.1" + port: false, "localhost.evil.example" + port: false, "0.0.0.0" + port: false, "[::]" + port: false,
		port: false,
	} {
		for _, q := range []request{read, change, probe} {
			q.host = host
			code, _, body := s.do(q)
			if (code == 200) != ok || !ok && code != http.StatusForbidden && code != http.StatusBadRequest {
				t.Errorf("Host %s, %s: %d %s", host, q.path, code, body)
			}
		}
	}
}

// Without a port in Host, it is 80. HTTP/1.0 has no Host.
func TestHostWithoutPort(t *testing.T) {
	s := serve(t, "tcp", func(o *admin.Options) { o.Address.Port = 80 })
	for host, ok := range map[string]bool{"localhost": true, "[::1]": true, "localhost:80": true, "evil.example": false} {
		q := read
		q.host = host
		if code, _, body := s.do(q); (code == 200) != ok {
			t.Errorf("Host %s: %d %s", host, code, body)
		}
	}
	if got := s.raw("GET /readyz HTTP/1.0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.0 200 ") {
		t.Errorf("HTTP/1.0 without Host: %s", got)
	}
	if got := s.raw("GET /readyz HTTP/1.1\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("HTTP/1.1 without Host: %s", got)
	}
	if got := s.raw("GET /readyz HTTP/1.1\r\nHost:\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 403 ") {
		t.Errorf("an empty Host: %s", got)
	}
}

// Other addresses have names that the proxy cannot know; nor does a unix socket have one.
func TestAnyHostElsewhere(t *testing.T) {
	for network, options := range map[string][]func(*admin.Options){"tcp": {faraway, withToken}, "unix": nil} {
		s := serve(t, network, options...)
		q := change
		q.host, q.header = "proxy.example:1234", bearer(token)
		if code, _, body := s.do(q); code != 200 {
			t.Errorf("%s: %d %s", network, code, body)
		}
		s.stop() // before the next one counts descriptors
	}
}

// A page of another origin may not change anything, on any address, and needs no token to fail.
func TestOrigin(t *testing.T) {
	networks(t, func(t *testing.T, network string) {
		s := serve(t, network)
		own := "http://" + s.hostPort()
		for _, c := range []struct {
			header map[string]string
			ok     bool
		}{
			{nil, true},
			{map[string]string{"Origin": own}, true},
			{map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": own}, true},
			{map[string]string{"Sec-Fetch-Site": "none"}, true},
			{map[string]string{"Origin": "http://evil.example"}, false},
			{map[string]string{"Origin": "null"}, false},
			{map[string]string{"Origin": "http://localhost:1"}, false},
			{map[string]string{"Sec-Fetch-Site": "cross-site"}, false},
			{map[string]string{"Sec-Fetch-Site": "same-site"}, false},
			{map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": own}, false},
		} {
			for _, path := range []string{"/api/v1/reload", "/api/v1/drain", "/api/v1/upgrade", "/api/v1/reload/keep", "/nowhere"} {
				q := request{method: "POST", path: path, header: c.header}
				code, header, body := s.do(q)
				if (code == http.StatusForbidden) == c.ok {
					t.Errorf("%s with %v: %d %s", path, c.header, code, body)
				}
				if header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s: the answer allows another origin", path)
				}
			}
		}
	})
}

// Refused requests are logged, but not all of a flood.
func TestRefusalsAreLoggedOnce(t *testing.T) {
	s := serve(t, "tcp", withToken)
	for i := range 20 {
		q := change
		q.path = fmt.Sprintf("/attempt-%d", i)
		s.do(q)
	}
	log := s.log.String()
	if n := strings.Count(log, "admin request refused"); n < 1 || n > 10 || !strings.Contains(log, "attempt-0") {
		t.Errorf("%d lines about 20 refusals:\n%s", n, log)
	}
}
