package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"l4proxy/admin"
)

// networks runs a test on each type of socket.
func networks(t *testing.T, test func(t *testing.T, network string)) {
	t.Helper()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) { test(t, network) })
	}
}

// Every command arrives with its values, and its answer comes back.
func TestCommandsArrive(t *testing.T) {
	networks(t, func(t *testing.T, network string) {
		s := serve(t, network)
		c, ctx := s.client(""), t.Context()
		check := func(err error, want any) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
			if got := s.fake.taken(); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
				t.Errorf("the proxy got %+v, want %+v", got, want)
			}
		}
		request := admin.ReloadRequest{Confirm: admin.Duration(time.Minute), Guard: &admin.Guard{Failed: 3}}
		reload, err := c.Reload(ctx, request)
		check(err, request)
		if reload.Generation != 7 {
			t.Errorf("reload %+v", reload)
		}
		check(c.Keep(ctx), "keep")
		check(c.Rollback(ctx), "rollback")
		limit := admin.Duration(0)
		drain, err := c.Drain(ctx, admin.DrainRequest{Listener: "web", Timeout: &limit})
		check(err, admin.DrainRequest{Listener: "web", Timeout: &limit})
		if drain.What() != "listener web" || drain.State != "drain" {
			t.Errorf("drain %+v", drain)
		}
		drain, err = c.SetBackend(ctx, "a/b c", "unix:/run/x", admin.BackendChange{State: "drain"})
		check(err, [3]string{"a/b c", "unix:/run/x", "drain"})
		if drain.State != "drain" {
			t.Errorf("drain %+v", drain)
		}
		_, err = c.SetBackend(ctx, "pg", "[::1]:80", admin.BackendChange{State: "up"})
		check(err, [3]string{"pg", "[::1]:80", "up"})
		upgrade, err := c.Upgrade(ctx, admin.UpgradeRequest{Binary: "/bin/new"})
		check(err, admin.UpgradeRequest{Binary: "/bin/new"})
		if upgrade.PID != 43 {
			t.Errorf("upgrade %+v", upgrade)
		}
		status, err := c.Status(ctx)
		if err != nil || status.Version != "1.2.3" || status.PID != 42 {
			t.Errorf("status %+v, %v", status, err)
		}
		if got := s.fake.taken(); got != nil {
			t.Errorf("reading the status changed something: %+v", got)
		}
		if log := s.log.String(); strings.Count(log, "admin command") != 7 || !strings.Contains(log, `request="POST /api/v1/reload"`) {
			t.Errorf("the log is\n%s", log)
		}
	})
}

func TestHealth(t *testing.T) {
	s := serve(t, "tcp", faraway, withToken) // health and readiness need no token
	for _, c := range []struct {
		path  string
		state func()
		code  int
		body  string
	}{
		{"/healthz", func() {}, 200, `{"ok":true}`},
		{"/readyz", func() {}, 200, `{"ready":true}`},
		{"/readyz", func() { s.fake.notReady = "shutting down" }, 503, `{"ready":false,"reason":"shutting down"}`},
		{"/healthz", func() {}, 200, `{"ok":true}`},
		{"/healthz", func() { s.fake.alive = errors.New("event loop 1 does not answer") }, 503,
			`{"error":"event loop 1 does not answer","hint":"send SIGQUIT for the stacks of all goroutines, and restart it"}`},
	} {
		s.fake.change(c.state)
		code, header, body := s.do(request{method: "GET", path: c.path})
		if code != c.code || compact(t, body) != c.body {
			t.Errorf("%s: %d %s, want %d %s", c.path, code, body, c.code, c.body)
		}
		if header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: header %v", c.path, header)
		}
	}
}

// compact is a JSON text without blanks.
func compact(t *testing.T, text string) string {
	t.Helper()
	var v json.RawMessage
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Errorf("%q is not JSON: %v", text, err)
	}
	short, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	return string(short)
}

// What is wrong with a request is in the answer, with what to do, and nothing is done.
func TestWrongRequests(t *testing.T) {
	s := serve(t, "tcp")
	long := strings.Repeat("x", 100)
	for _, c := range []struct {
		method, path, body string
		code               int
		want               string // in the answer
	}{
		{"GET", "/index.html", "", 404, "no such path: /index.html"},
		{"GET", "/assets/old/app.js", "", 404, "no such file: /assets/old/app.js"},
		{"POST", "/api/v1/relaod", "", 404, "no such path: /api/v1/relaod"},
		{"GET", "/" + long, "", 404, "xxx..."},
		{"GET", "//api/v1/status", "", 404, "no such path: //api/v1/status"},
		{"GET", "/api/v1/../v1/status", "", 404, "no such path"},
		{"POST", "/api/v1/reload/", "", 404, "no such path: /api/v1/reload/"},
		{"PATCH", "/api/v1/pools/a/backends/..", `{"state":"up"}`, 404, "no such path"},
		{"OPTIONS", "*", "", 404, "no such path: *"},
		{"CONNECT", "/healthz", "", 404, "no such path: /healthz"},
		{"POST", "/healthz", "", 405, "use GET, HEAD"},
		{"OPTIONS", "/healthz", "", 405, "use GET, HEAD"},
		{"GET", "/api/v1/reload", "", 405, "use POST"},
		{"HEAD", "/api/v1/reload", "", 405, ""},
		{"DELETE", "/api/v1/status", "", 405, "use GET, HEAD"},
		{"PUT", "/api/v1/pools/a/backends/b", "", 405, "use PATCH"},
		{"BREW", "/api/v1/status", "", 405, "BREW is not allowed on this path"},
		{"PATCH", "/api/v1/pools/a/backends/b/c", `{"state":"up"}`, 404, "no such path"},
		{"PATCH", "/api/v1/pools/a/backends/", `{"state":"up"}`, 404, "no such path"},
		{"PATCH", "/api/v1/pools/a/backends/b", "", 400, `write \"state\", \"weight\" or both`},
		{"PATCH", "/api/v1/pools/a/backends/b", `{"state":"asleep"}`, 400, "write up, drain or down"},
		{"PATCH", "/api/v1/pools/a/backends/b", `{"state":"up","wait":2}`, 400, `unknown key \"wait\"`},
		{"PATCH", "/api/v1/pools/a/backends/b", `{"weight":0}`, 400, `write \"state\": \"drain\"`},
		{"PATCH", "/api/v1/pools/a/backends/b", `{"weight":1001}`, 400, "from 1 to 1000"},
		{"PATCH", "/api/v1/pools/a/backends/b", `{"weight":-1}`, 400, "from 1 to 1000"},
		{"PATCH", "/api/v1/pools/a/backends/b", `{"weight":1.5}`, 400, "whole number"},
		{"PATCH", "/api/v1/pools/a/backends/b", `{"weight":"2"}`, 400, `or \"config\"`},
		{"PATCH", "/api/v1/pools/a/backends/b", `{"weight":2,"timeout":"1s"}`, 400, "a timeout without a state"},
		{"GET", "/api/v1/pools/a", "", 404, "unknown pool a"},
		{"GET", "/api/v1/listeners/a", "", 404, "unknown listener a"},
		{"POST", "/api/v1/reload", `{"dry-run":true}`, 400, "this path takes confirm, dry_run, guard"},
		{"POST", "/api/v1/reload", `{"DRY_RUN":true}`, 400, `unknown key \"DRY_RUN\"`},
		{"POST", "/api/v1/reload", `{"dry_run":true,"dry_run":false}`, 400, `\"dry_run\" is repeated`},
		{"POST", "/api/v1/reload", `{"dry_run":"yes"}`, 400, `expected true or false for \"dry_run\", got a string`},
		{"POST", "/api/v1/reload", `{"confirm":60}`, 400, `expected a string for \"confirm\", got a number`},
		{"POST", "/api/v1/reload", `{"confirm":"soon"}`, 400, `\"soon\" is not a duration`},
		{"POST", "/api/v1/reload", `{"confirm":"-1s"}`, 400, "confirm is negative"},
		{"POST", "/api/v1/reload", `{"guard":false}`, 400, "guard: write true"},
		{"POST", "/api/v1/reload", `{"guard":{"fialed":1}}`, 400, "guard: write true"},
		{"POST", "/api/v1/reload", `{"dry_run":true,"confirm":"1s"}`, 400, "nothing to confirm"},
		{"POST", "/api/v1/reload", `[]`, 400, "not a JSON object"},
		{"POST", "/api/v1/reload", `{`, 400, "not a JSON object"},
		{"POST", "/api/v1/reload", `{}x`, 400, "not a JSON object"},
		{"POST", "/api/v1/reload", `{"dry_run":tru}`, 400, "not a JSON object"},
		{"POST", "/api/v1/reload?dry_run=true", `{"dry_run":true}`, 400, `\"dry_run\" is repeated`},
		{"POST", "/api/v1/reload?dry_run=true&dry_run=true", ``, 400, `\"dry_run\" is repeated`},
		{"POST", "/api/v1/reload?drain=true", ``, 400, `unknown key \"drain\"`},
		{"POST", "/api/v1/reload?a=%zz", ``, 400, "the query cannot be read"},
		{"POST", "/api/v1/reload", `{"confirm":"` + strings.Repeat("9", 70000) + `"}`, 413, "larger than 65536 bytes"},
		{"POST", "/api/v1/reload/keep", `{"dry_run":true}`, 400, "send no body"},
		{"POST", "/api/v1/drain?listener=web", ``, 400, "this path takes no query"},
		{"POST", "/api/v1/drain", `{"listener":"a","backend":"b"}`, 400, "not both"},
		{"POST", "/api/v1/drain", `{"pool":"a"}`, 400, "names no backend"},
		{"POST", "/api/v1/drain", `{"listener":"web","undo":true,"timeout":"1s"}`, 400, "undo has no timeout"},
		{"POST", "/api/v1/drain", `{"timeout":"-1s"}`, 400, "the timeout is negative"},
		{"POST", "/api/v1/drain", `{"undo":true}`, 400, "cannot be undone"},
		{"POST", "/api/v1/drain", `{"listener":""}`, 400, `\"listener\" is \"\"`},
		{"POST", "/api/v1/drain", `{"backend":null}`, 400, `\"backend\" is null`},
		{"POST", "/api/v1/reload", `{"dry_run":null}`, 400, `\"dry_run\" is null`},
		{"POST", "/api/v1/reload?dry_run", ``, 400, `\"dry_run\" is \"\"`},
		{"PATCH", "/api/v1/pools/a/backends/b", `{"state":"down","timeout":"-1s"}`, 400, "the timeout is negative"},
		{"PATCH", "/api/v1/pools/a/backends/b", `{"state":"up","timeout":"1s"}`, 400, "the state up has no timeout"},
		{"POST", "/api/v1/upgrade", `{"binary":"l4proxy"}`, 400, "is not absolute"},
	} {
		code, header, body := s.do(request{method: c.method, path: c.path, body: c.body})
		if code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s %.80s %.80s: %d %s, want %d %s", c.method, c.path, c.body, code, body, c.code, c.want)
		}
		if c.method != "HEAD" {
			compact(t, body)
		}
		if code == 405 && header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
	}
	if got := s.fake.taken(); got != nil {
		t.Errorf("the proxy got %+v", got)
	}
}

// The values of a reload may stand in the query.
func TestReloadByQuery(t *testing.T) {
	s := serve(t, "tcp")
	for path, want := range map[string]admin.ReloadRequest{
		"/api/v1/reload":                        {},
		"/api/v1/reload?dry_run=true":           {DryRun: true},
		"/api/v1/reload?confirm=60s&guard=true": {Confirm: admin.Duration(time.Minute), Guard: new(admin.Guard)},
	} {
		code, _, body := s.do(request{method: "POST", path: path})
		if got := s.fake.taken(); code != 200 || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("%s: %d %s, the proxy got %+v", path, code, body, got)
		}
	}
}

func TestHeadHasNoBody(t *testing.T) {
	s := serve(t, "tcp")
	code, header, body := s.do(request{method: "HEAD", path: "/api/v1/status"})
	if code != 200 || body != "" || header.Get("Content-Length") == "" {
		t.Errorf("%d %q %v", code, body, header)
	}
}

// What a command fails with is in the answer, with its status.
func TestFailingCommands(t *testing.T) {
	s := serve(t, "tcp")
	for _, c := range []struct {
		err  error
		code int
	}{
		{admin.NotFound("no such backend", "see l4proxy status"), 404},
		{admin.Conflict("a reload is in progress", ""), 409},
		{admin.Refused("config.yaml:1:1: wrong\nconfig.yaml:2:1: wrong too", ""), 422},
		{errors.New("no luck"), 500},
	} {
		s.fake.change(func() { s.fake.err = c.err })
		_, err := s.client("").SetBackend(t.Context(), "a", "b", admin.BackendChange{State: "up"})
		var failed *admin.Error
		if !errors.As(err, &failed) || failed.Status != c.code || failed.Error() != c.err.Error() {
			t.Errorf("%v: got %v", c.err, err)
		}
	}
	if log := s.log.String(); !strings.Contains(log, `msg="admin command failed"`) || !strings.Contains(log, "no luck") {
		t.Errorf("the log is\n%s", log)
	}
}

// A process may lack commands: the demo has no file to reload.
func TestMissingCommands(t *testing.T) {
	s := serve(t, "tcp", func(o *admin.Options) { o.Commands = admin.Commands{} })
	c, ctx := s.client(""), t.Context()
	_, reload := c.Reload(ctx, admin.ReloadRequest{})
	_, drain := c.Drain(ctx, admin.DrainRequest{})
	_, upgrade := c.Upgrade(ctx, admin.UpgradeRequest{})
	_, backend := c.SetBackend(ctx, "a", "b", admin.BackendChange{State: "up"})
	for i, err := range []error{reload, drain, upgrade, c.Keep(ctx), c.Rollback(ctx), backend} {
		var failed *admin.Error
		if !errors.As(err, &failed) || failed.Status != http.StatusNotImplemented || !strings.HasPrefix(failed.Message, "this process cannot ") {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// A panic is an answer and a log line, and the next request is served.
func TestPanicIsAnswered(t *testing.T) {
	s := serve(t, "tcp")
	s.fake.change(func() { s.fake.during = func(context.Context) { panic("broken") } })
	code, _, body := s.do(request{method: "POST", path: "/api/v1/reload"})
	if code != 500 || !strings.Contains(body, "internal error") || strings.Contains(body, "broken") {
		t.Errorf("%d %s", code, body)
	}
	if log := s.log.String(); !strings.Contains(log, "broken") || !strings.Contains(log, "api_test.go") {
		t.Errorf("the log is\n%s", log)
	}
	if code, _, body := s.do(request{method: "GET", path: "/api/v1/status"}); code != 200 {
		t.Errorf("afterwards: %d %s", code, body)
	}
}
