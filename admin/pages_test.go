package admin_test

import (
	"net/http"
	"strings"
	"testing"
)

// The dashboard needs no token anywhere: it is the same for everyone, and has nothing to say but
// what the API answers.
func TestDashboardIsOpen(t *testing.T) {
	networks(t, func(t *testing.T, network string) {
		s := serve(t, network, faraway, withToken)
		code, header, body := s.do(request{method: "GET", path: "/"})
		if code != http.StatusOK || !strings.Contains(body, "<title>l4proxy</title>") {
			t.Errorf("/: %d %s", code, body)
		}
		if header.Get("Content-Security-Policy") == "" {
			t.Error("/ has no policy")
		}
		_, script, _ := strings.Cut(body, `type="module" src="`)
		script, _, _ = strings.Cut(script, `"`)
		if code, _, _ := s.do(request{method: "GET", path: "/" + script}); code != http.StatusOK {
			t.Errorf("%s: %d", script, code)
		}
		for _, q := range []request{{method: "POST", path: "/"}, {method: "DELETE", path: "/assets/x"}, {method: "GET", path: "/index.html"}} {
			if code, _, body := s.do(q); code < 400 {
				t.Errorf("%s %s: %d %s", q.method, q.path, code, body)
			}
		}
	})
}

// A page of another site that has pointed its name to this address does not get it.
func TestDashboardWantsItsHost(t *testing.T) {
	s := serve(t, "tcp")
	if code, _, body := s.do(request{method: "GET", path: "/", host: "evil.example"}); code != http.StatusForbidden {
		t.Errorf("%d %s", code, body)
	}
}

// Paths that a ServeMux redirects are unknown like others, also to pages of other sites.
func TestNoRedirects(t *testing.T) {
	s := serve(t, "tcp")
	for _, path := range []string{"/assets", "//", "///", "/assets//", "/api", "/api/v1/pools/"} {
		if code, header, body := s.do(request{method: "GET", path: path}); code != http.StatusNotFound || header.Get("Location") != "" {
			t.Errorf("%s: %d %v %s", path, code, header, body)
		}
		if code, _, body := s.do(request{method: "GET", path: path, host: "evil.example"}); code != http.StatusForbidden {
			t.Errorf("%s with a wrong host: %d %s", path, code, body)
		}
	}
}
