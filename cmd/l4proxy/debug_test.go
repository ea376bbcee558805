package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// stepsOf are the steps of a client in the log of a service, once one of them is last.
func stepsOf(t *testing.T, s *service, c testnet.Conn, last string) (steps []string) {
	t.Helper()
	line := regexp.MustCompile(`"msg":"trace","trace":\d+,"step":"([^"]+)","listener":"[^"]+","client":"` + c.LocalAddr().String() + `"`)
	if !testnet.Within(testnet.Patience, func() bool {
		steps = nil
		for _, m := range line.FindAllStringSubmatch(s.logged(), -1) {
			steps = append(steps, m[1])
		}
		return slices.Contains(steps, last)
	}) {
		t.Fatalf("%s is not among %q:\n%s", last, steps, s.logged())
	}
	return steps
}

// TestDebugOutlivesReloadsAndUpgrades: what an operator has set stays in effect until its time is
// over, in the next process too. A connection that moves is followed in both.
func TestDebugOutlivesReloadsAndUpgrades(t *testing.T) {
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	config := func(level string) string {
		return fmt.Sprintf("admin: {bind: \"unix:$DIR/admin\"}\nlisteners: {web: {bind: \"127.0.0.1:0\"}}\npools: {web: {backends: [%q]}}\n", b.Addr) +
			"drain: {timeout: 1s} # " + level + "\n"
	}
	s := newService(t, config("info"))
	api, err := client.New("unix:"+s.dir+"/admin", "")
	if err != nil {
		t.Fatal(err)
	}
	set := func(q admin.DebugRequest) *admin.Debug {
		t.Helper()
		d, err := api.SetDebug(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	from := admin.Prefix{Prefix: netip.MustParsePrefix("127.0.0.5/32")}
	d := set(admin.DebugRequest{From: from, For: admin.Duration(time.Hour)})
	if len(d.Traces) != 1 || d.Traces[0].From != from || d.Level != "info" || d.LevelSet {
		t.Errorf("%+v", d)
	}
	d = set(admin.DebugRequest{Level: "warn"})
	if d.Level != "warn" || d.Configured != "info" || !d.LevelSet || d.LevelUntil != nil {
		t.Errorf("%+v", d)
	}
	web := s.address("web")
	c, other := testnet.DialFrom(t, "127.0.0.5", web), testnet.DialFrom(t, "127.0.0.6", web)
	mustEcho(t, c, "x")
	mustEcho(t, other, "x")

	s.configure(strings.Replace(config("other"), "drain", "workers: auto\ndrain", 1))
	if _, err := api.Reload(t.Context(), admin.ReloadRequest{}); err != nil {
		t.Fatal(err)
	}
	s.upgrade()
	testnet.Eventually(t, "the new process answers", func() bool { d, err = api.Debug(t.Context()); return err == nil })
	if len(d.Traces) != 1 || d.Traces[0].From != from || time.Until(d.Traces[0].Until) < 59*time.Minute || d.Level != "warn" || !d.LevelSet {
		t.Errorf("after the upgrade: %+v", d)
	}
	mustEcho(t, c, "y")
	c.Close()
	other.Close()
	steps := stepsOf(t, s, c, "ended")
	if got := strings.Join(steps, "; "); !regexp.MustCompile(`^accepted; slot taken; .*connected; first byte; first byte; moved to another process; taken over; fin; .*ended$`).MatchString(got) {
		t.Error(got)
	}
	if strings.Contains(s.logged(), other.LocalAddr().String()) {
		t.Errorf("a client that is not traced is in the log, at level warn:\n%s", s.logged())
	}
	d = set(admin.DebugRequest{Stop: true})
	if len(d.Traces) != 0 || d.Level != "info" || d.LevelSet {
		t.Errorf("%+v", d)
	}
	d = set(admin.DebugRequest{Level: "debug", For: admin.Duration(time.Hour)})
	if d.LevelUntil == nil {
		t.Errorf("%+v", d)
	}
	other = testnet.DialFrom(t, "127.0.0.6", web)
	mustEcho(t, other, "x")
	stepsOf(t, s, other, "connected")
	s.signal(unix.SIGTERM)
}

// TestDebugFaults: what cannot be is refused, with what to write instead.
func TestDebugFaults(t *testing.T) {
	prefix := admin.Prefix{Prefix: netip.MustParsePrefix("10.0.0.0/8")}
	for _, test := range []struct {
		q    admin.DebugRequest
		want string
	}{
		{admin.DebugRequest{}, "nothing to change"},
		{admin.DebugRequest{For: admin.Duration(time.Minute)}, "nothing to change"},
		{admin.DebugRequest{Level: "loud"}, "unknown level loud"},
		{admin.DebugRequest{Level: "info+1"}, "unknown level info+1"},
		{admin.DebugRequest{Level: "DEBUG"}, "unknown level DEBUG"},
		{admin.DebugRequest{Level: "debug", From: prefix}, "a level is that of the whole process"},
		{admin.DebugRequest{Level: "debug", Stop: true}, "a level is that of the whole process"},
		{admin.DebugRequest{From: prefix, For: admin.Duration(25 * time.Hour)}, "for is 25h0m0s"},
		{admin.DebugRequest{From: prefix, For: -1}, "for is -1ns"},
		{admin.DebugRequest{Stop: true, For: 1}, "stop has no duration"},
	} {
		_, err := checkDebug(&test.q)
		if refused := new(admin.Error); !errors.As(err, &refused) || refused.Status != 400 || refused.Message != test.want || refused.Hint == "" {
			t.Errorf("%+v: %v, want %s", test.q, err, test.want)
		}
	}
}

// TestSavedDebugIsBounded: no process sets for another one what it would not accept itself.
func TestSavedDebugIsBounded(t *testing.T) {
	now := time.Now()
	for _, test := range []struct{ until, want time.Time }{
		{now.Add(time.Hour), now.Add(time.Hour)},
		{now.Add(1000 * time.Hour), now.Add(debugMost)},
		{time.Time{}, time.Time{}},
	} {
		if got := within(test.until, now); !got.Equal(test.want) {
			t.Errorf("%v, want %v", got, test.want)
		}
	}
	var read savedDebug
	if err := json.Unmarshal([]byte(`{"level": {"level": "DEBUG"}, "traces": [{"from": "10.0.0.1", "until": "2026-01-02T03:04:05Z", "new": 1}], "more": {}}`), &read); err != nil ||
		read.Level == nil || len(read.Traces) != 1 || !read.Traces[0].From.IsValid() {
		t.Errorf("%+v, %v", read, err)
	}
}

// docs/operations.md has a row for each step, in order.
func TestDocumentedSteps(t *testing.T) {
	var want, got []string
	for kind := range proxy.StepEnded + 1 {
		want = append(want, kind.String())
	}
	for _, cell := range rows(t, documents(t)["docs/operations.md"], "### Following connections") {
		for name := range strings.SplitSeq(cell, ", ") {
			got = append(got, strings.Trim(name, "`"))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("documented:\n%q\nwant\n%q", got, want)
	}
}
