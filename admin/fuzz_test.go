package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzRequest sends any request to the handlers. Whatever it is, the answer is JSON, no panic is
// behind it, and what reaches a command has passed the checks.
func FuzzRequest(f *testing.F) {
	for _, body := range []string{
		"", "{}", `{"dry_run":true}`, `{"confirm":"60s","guard":{"failed":5,"unusable":30,"least":20}}`, `{"guard":true}`,
		`{"state":"drain"}`, `{"listener":"web","timeout":"5s"}`, `{"pool":"pg","backend":"10.0.0.5:5432","undo":true}`,
		`{"from":"10.1.2.3","older_than":"1m","rate":"50/s"}`, `{"all":true}`, `{"id":"0-1-2","dry_run":true}`,
		`{"binary":"/usr/bin/l4proxy"}`, `{"a":{"b":[1,2,{"c":null}]}}`, "[]", "null", `"x"`, "{\"dry_run\":true}{}", "\xff\xfe", `{"dry_run":1e999}`,
	} {
		for i := range routes {
			f.Add(routes[i].method, routes[i].pattern, "dry_run=true", body)
			f.Add(routes[i].method, routes[i].pattern, "from=::1&sort=rate&limit=7&idle=5s", body)
		}
	}
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		if strings.ContainsAny(method, " \t\r\n") || method == "" {
			return
		}
		fail := func(format string, args ...any) {
			t.Errorf("%s %q?%q %q: "+format, append([]any{method, path, query, body}, args...)...)
		}
		s := New(nil, Options{
			Address: Address{Loopback: true, Port: 1},
			View:    fuzzView{},
			Log:     slog.New(slog.DiscardHandler),
			Queries: Queries{
				Connections: func(_ context.Context, q ConnectionQuery) (*ConnectionPage, error) {
					if q.Limit < 1 || q.Limit > MaxLimit || !slices.Contains(Sorts, q.Sort) || q.Idle < 0 || q.OlderThan < 0 {
						fail("connections %+v", q)
					}
					return &ConnectionPage{}, nil
				},
			},
			Commands: Commands{
				Kill: func(_ context.Context, r KillRequest) (*Kill, error) {
					if _, err := ParseRate(r.Rate); err != nil || !r.All && r.ID == "" && !r.Selects() || r.Idle < 0 || r.OlderThan < 0 {
						fail("kill %+v", r)
					}
					return &Kill{}, nil
				},
				Reload: func(_ context.Context, r ReloadRequest) (*Reload, error) {
					if r.Confirm < 0 || r.DryRun && r.Guard != nil {
						fail("reload %+v", r)
					}
					return &Reload{}, nil
				},
				Drain: func(_ context.Context, r DrainRequest) (*Drain, error) {
					if r.Listener != "" && r.Backend != "" {
						fail("drain %+v", r)
					}
					return &Drain{}, nil
				},
				SetBackend: func(_ context.Context, pool, address string, change BackendChange) (*Drain, error) {
					if pool == "" || address == "" || change.check() != nil {
						fail("backend %q %q %q", pool, address, change)
					}
					return &Drain{}, nil
				},
			},
		})
		r := &http.Request{
			Method: method, URL: &url.URL{Path: "/" + strings.TrimPrefix(path, "/"), RawQuery: query}, Host: "localhost:1",
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: readCloser{strings.NewReader(body)},
		}
		w := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(w, r)
		if w.Code >= 300 && w.Code < 400 { // net/http cleans the path
			return
		}
		if w.Code < 300 && dashboard.Has(r.URL.Path) { // HTML
			return
		}
		if w.Code == http.StatusInternalServerError || !json.Valid(w.Body.Bytes()) {
			fail("%d %s", w.Code, w.Body)
		}
	})
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

type fuzzView struct{}

func (fuzzView) Alive(context.Context) error { return nil }
func (fuzzView) NotReady() string            { return "" }
func (fuzzView) Status() *Status             { return &Status{} }
