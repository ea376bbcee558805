package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testenv"
)

func testOptions(t *testing.T) options {
	t.Helper()
	o, err := parseOptions([]string{"-duration", "1s", "-rounds", "1", "-workers", "1"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func testLab(t *testing.T) *lab {
	t.Helper()
	l, err := newLab(t.TempDir(), testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-scenario", "all", "-engine", "epoll"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if want := slices.Sorted(maps.Keys(scenarios)); !slices.Equal(o.scenarios, want) {
		t.Errorf("-scenario all is %q, want %q", o.scenarios, want)
	}
	if !slices.Equal(o.engines, []string{"epoll"}) {
		t.Errorf("-engine epoll is %q", o.engines)
	}
	for _, args := range [][]string{{"-rounds", "0"}, {"-workers", "0"}, {"-duration", "1ms"}, {"stray"}, {"-nonsense"}} {
		if _, err := parseOptions(args, io.Discard); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

// TestConfigurationsAreTaken has each peer judge what its template makes.
func TestConfigurationsAreTaken(t *testing.T) {
	o := testOptions(t)
	for _, test := range []struct {
		tool  string
		find  func(context.Context) ([]peer, error)
		check string
	}{
		{"haproxy", findHAProxy, "-c"},
		{"nginx", findNginx, "-t"},
	} {
		t.Run(test.tool, func(t *testing.T) {
			testenv.NeedTool(t, test.tool)
			peers, err := test.find(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			l := testLab(t)
			set, err := l.setup(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			argv, err := peers[0].command(set)
			if err != nil {
				t.Fatal(err)
			}
			argv = append(argv, test.check)
			if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%q: %v\n%s", argv, err, out)
			}
		})
	}
	// l4proxy is not built here; its template is read as text.
	config, err := configure("peers/l4proxy.yaml.tmpl", setup{
		Dir: t.TempDir(), Engine: "epoll", Workers: o.workers, Listen: "0.0.0.0:1", Backends: []string{"127.0.0.2:2", "127.0.0.3:2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"engine: epoll\nworkers: 1\n", "bind: 0.0.0.0:1\n", "      - 127.0.0.2:2\n      - 127.0.0.3:2\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("l4proxy.yaml lacks %q:\n%s", want, text)
		}
	}
}

// TestMeasureRounds is the whole way once, with one peer and a short load.
func TestMeasureRounds(t *testing.T) {
	for _, tool := range []string{"nginx", "haproxy", "wrk"} {
		testenv.NeedTool(t, tool)
	}
	peers, err := findHAProxy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	broken := peer{name: "broken", role: rival, command: func(setup) ([]string, error) {
		return []string{"false"}, nil
	}}
	s := reqresp(4)
	r, err := measureRounds(t.Context(), testLab(t), "reqresp", s, append(peers, broken), 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 2 {
		t.Fatalf("%d rows, want 2", len(r.Rows))
	}
	if r.Rows[0].Failed != "" {
		t.Fatalf("haproxy failed: %s", r.Rows[0].Failed)
	}
	for _, m := range s.metrics {
		if _, ok := r.Rows[0].Samples[0][m.name]; !ok {
			t.Errorf("no figure for %s", m.name)
		}
	}
	if rate := r.Rows[0].Samples[0]["requests/s"]; rate <= 0 {
		t.Errorf("%v requests/s", rate)
	}
	if want := "broken ended at start: it printed nothing"; r.Rows[1].Failed != want {
		t.Errorf("the broken peer failed with %q, want %q", r.Rows[1].Failed, want)
	}
}

func TestOpenIdle(t *testing.T) {
	testenv.NeedTool(t, "nginx")
	l := testLab(t)
	set, err := l.setup(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	origin, err := startHTTPOrigin(set)
	if err != nil {
		t.Fatal(err)
	}
	defer origin.stop()
	if err := origin.awaitListening(t.Context(), l.proxyPort); err != nil {
		t.Fatal(err)
	}
	address := strings.Replace(set.Listen, "0.0.0.0", "127.0.0.1", 1)
	before, err := memoryOf(origin.pid())
	if err != nil {
		t.Fatal(err)
	}
	const n = 100
	conns, err := openIdle(t.Context(), address, n)
	if err != nil || len(conns) != n {
		t.Fatalf("%d connections: %v", len(conns), err)
	}
	after, err := memoryOf(origin.pid())
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.minus(before).fds; grown != n {
		t.Errorf("%v more descriptors with %d connections", grown, n)
	}
	for _, conn := range conns {
		conn.Close()
	}
}

func TestVerify(t *testing.T) {
	e, err := startEcho("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(t.Context(), e.listener.Addr().String()); err != nil {
		t.Errorf("an echo server: %v", err)
	}
	e.stop()

	corrupting, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer corrupting.Close()
	go func() {
		conn, err := corrupting.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		var b [1]byte
		_, _ = io.ReadFull(conn, b[:])
		b[0]++
		_, _ = conn.Write(b[:])
	}()
	err = verify(t.Context(), corrupting.Addr().String())
	if want := "1 bytes: other bytes came back"; err == nil || err.Error() != want {
		t.Errorf("a corrupting server: %v, want %s", err, want)
	}
}

// TestStopEndsWhatTheProcessForked: workers that outlive their master must not
// outlive the benchmark.
func TestStopEndsWhatTheProcessForked(t *testing.T) {
	p, err := start("forker", t.TempDir(), "sh", "-c", "sleep 600 & exec sleep 600")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	var pids []int
	deadline := time.After(startTimeout)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for len(pids) < 2 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("processes %v, want the shell and its child", pids)
		}
		if pids, err = tree(p.pid()); err != nil {
			t.Fatal(err)
		}
	}
	p.stop()
	// The orphan is init's to wait for; until then it is a zombie.
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pids[1]))
	if err == nil && !strings.Contains(string(stat), ") Z ") && !strings.Contains(string(stat), ") X ") {
		t.Errorf("the child is still there: %s", stat)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
}
