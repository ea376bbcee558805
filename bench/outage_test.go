package main

import (
	"context"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// testMembers starts the backends of a bench and returns the address of each.
func testMembers(t *testing.T) (members []*member, addresses []string) {
	t.Helper()
	l := testLab(t)
	set, err := l.setup(t.TempDir(), size{failing: true})
	if err != nil {
		t.Fatal(err)
	}
	b := bench{dir: t.TempDir(), place: l.place}
	if members, err = b.startMembers(t.Context(), set.Backends); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopMembers(members) })
	return members, set.Backends
}

// checked sends a health check to a backend and returns the answer.
func checked(t *testing.T, address string) (string, error) {
	t.Helper()
	conn := asked(t, address)
	if conn == nil {
		return "", io.EOF
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// asked returns a connection on which a health check has been sent, or nil if it was
// refused.
func asked(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp4", address)
	if err != nil {
		return nil
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestKillAndRestart(t *testing.T) {
	members, addresses := testMembers(t)
	m := members[victim]
	if err := m.kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if conn := asked(t, addresses[victim]); conn != nil {
		t.Error("a backend that was killed accepts connections")
	}
	if _, err := checked(t, addresses[0]); err != nil {
		t.Errorf("another backend: %v", err)
	}
	if err := m.kill(t.Context()); err == nil {
		t.Error("it was killed twice")
	}
	if err := m.restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if answer, err := checked(t, addresses[victim]); answer == "" || err != nil {
		t.Errorf("a backend that was started again answers %q, %v", answer, err)
	}
}

func TestSuspendAndResume(t *testing.T) {
	members, addresses := testMembers(t)
	m := members[victim]
	if stopped, err := suspended(m.pid()); stopped || err != nil {
		t.Errorf("suspended = %t, %v, want false", stopped, err)
	}
	if err := m.suspend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if stopped, err := suspended(m.pid()); !stopped || err != nil {
		t.Errorf("suspended = %t, %v, want true", stopped, err)
	}
	conn := asked(t, addresses[victim])
	if conn == nil {
		t.Fatal("a backend that is suspended refuses connections")
	}
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a backend that is suspended answers")
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := m.resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); len(answer) == 0 || err != nil {
		t.Errorf("a backend that was resumed answers %q, %v", answer, err)
	}
}

// Members end at once, also killed and suspended ones.
func TestMembersEnd(t *testing.T) {
	members, _ := testMembers(t)
	if err := members[0].kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := members[1].suspend(t.Context()); err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	stopMembers(members)
	if took := time.Since(from); took >= stopTimeout {
		t.Errorf("it took %v", took)
	}
	for _, m := range members {
		if running(m.pid()) {
			t.Errorf("process %d is still there", m.pid())
		}
	}
	if err := members[1].suspend(t.Context()); err == nil {
		t.Error("a backend that has ended was suspended")
	}
}

// If one backend cannot start, none of them is left running.
func TestMembersThatCannotStart(t *testing.T) {
	l := testLab(t)
	set, err := l.setup(t.TempDir(), size{failing: true})
	if err != nil {
		t.Fatal(err)
	}
	set.Backends[2] = net.JoinHostPort("192.0.2.1", strconv.Itoa(l.failingPorts[2]))
	b := bench{dir: t.TempDir(), place: l.place}
	members, err := b.startMembers(t.Context(), set.Backends)
	if err == nil || !strings.Contains(err.Error(), "ended while starting: ") {
		stopMembers(members)
		t.Fatalf("error %v with an address of another machine", err)
	}
	for _, address := range set.Backends[:2] {
		if conn := asked(t, address); conn != nil {
			t.Errorf("%s is still served", address)
		}
	}
}

// An outage behind a proxy that does nothing about failing backends: a third of the
// clients notice.
func TestOutage(t *testing.T) {
	plain := plainPeer(t)
	const lacks = "has nothing against failing backends"
	if _, err := testLab(t).measure(t.Context(), plain, outageKill(), 0); err == nil || err.Error() != lacks {
		t.Errorf("error %v, want %s", err, lacks)
	}
	plain.failover = true
	for name, test := range map[string]struct {
		outage
		bad, none string
	}{
		// No client should have to wait there either, but on a busy machine some do.
		"kill": {outage{begin: (*member).kill, end: (*member).restart}, "failed", ""},
		"stop": {outage{begin: (*member).suspend, end: (*member).resume}, "over 100 ms", "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			o := test.outage
			o.quiet, o.lasts, o.rate, o.patience = 300*time.Millisecond, 250*time.Millisecond, 100, time.Minute
			s := scenario{size: size{failing: true}, metrics: outageMetrics(), run: o.run}
			l := testLab(t)
			l.duration = 850 * time.Millisecond
			r, err := measureRounds(t.Context(), l, s, []peer{plain}, 1)
			if err != nil {
				t.Fatal(err)
			}
			row := r.Rows[0]
			if row.Failed != "" {
				t.Fatal(row.Failed)
			}
			f := row.Samples[0]
			if f[test.bad] < 5 || f[test.none] != 0 || f["recovered %"] == 0 || f["last bad s"] == 0 {
				t.Errorf("figures %v: want some for %s and none for %s, and that the backend came back", f, test.bad, test.none)
			}
			if row.Course == nil || len(row.Course.Bad) == 0 || (len(row.Failures) > 0) != (test.bad == "failed") {
				t.Errorf("course %v, failures %v", row.Course, row.Failures)
			}
		})
	}
}

// If the outage cannot be made, the measurement fails at once.
func TestOutageThatDoesNotHappen(t *testing.T) {
	plain := plainPeer(t)
	plain.failover = true
	o := outage{
		begin: func(m *member, ctx context.Context) error { return m.kill(ctx) },
		end:   (*member).kill, // it has been killed
		rate:  100, patience: time.Minute,
	}
	s := scenario{size: size{failing: true}, run: o.run, atLeast: time.Hour}
	_, err := testLab(t).measure(t.Context(), plain, s, 0)
	if want := "bringing a backend back: os: process already finished"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// Each backend has a port of its own.
func TestSetupOfFailingBackends(t *testing.T) {
	l := testLab(t)
	set, err := l.setup("dir", size{failing: true})
	if err != nil {
		t.Fatal(err)
	}
	var ports []string
	for _, address := range set.Backends {
		p, err := port(address)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, p)
	}
	slices.Sort(ports)
	if len(slices.Compact(ports)) != failingBackends {
		t.Errorf("backends %q", set.Backends)
	}
	if got := set.template("nginx.conf"); got != "peers/failover-nginx.conf.tmpl" {
		t.Errorf("the template is %s", got)
	}
}
