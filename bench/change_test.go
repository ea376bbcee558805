package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// shortChanges is two changes under a small load.
func shortChanges(t *testing.T, kind string) scenario {
	t.Helper()
	s, ok := findScenario(kind)
	if !ok {
		t.Fatalf("no scenario %s", kind)
	}
	c := changes{
		quiet: time.Second / 5, times: 2, every: time.Second, hold: time.Second / 2,
		flows: 8, pace: 20 * time.Millisecond, rate: 100, patience: testnet.Patience,
	}
	s.run, s.atLeast = c.run, c.quiet+c.span()+c.hold
	return s
}

// Each peer takes the changes, in its own way: clients meet the new backends, and the old processes
// of the rivals stay for the sake of the long flows.
func TestPeersAreChanged(t *testing.T) {
	for _, tool := range []string{"haproxy", "nginx"} {
		testenv.NeedTool(t, tool)
	}
	peers, missing, err := findPeers(t.Context(), options{
		peers: []string{"haproxy", "nginx", "l4proxy"}, engines: []string{"epoll"}, l4proxy: build(t, "..", "./cmd/l4proxy"),
	})
	if err != nil || len(missing) > 0 {
		t.Fatal(err, missing)
	}
	for _, test := range []struct {
		kind, peer          string
		inEffect, processes float64
	}{
		{reload, "haproxy", 2, 2},
		{reload, "nginx", 2, 2},
		{reload, "l4proxy epoll", 2, 0},
		{upgrade, "haproxy", 2, 2},
		{upgrade, "l4proxy epoll", 2, 0},
		// It ignores an upgrade while the flows of the first binary live. The old master stays
		// too.
		{upgrade, "nginx", 1, 2},
	} {
		t.Run(test.kind+" of "+test.peer, func(t *testing.T) {
			var tested []peer
			for _, p := range peers {
				if p.name == test.peer {
					tested = append(tested, p)
				}
			}
			s := shortChanges(t, test.kind)
			r, err := measureRounds(t.Context(), testLab(t), s, tested, 1)
			if err != nil {
				t.Fatal(err)
			}
			row := r.Rows[0]
			if row.Failed != "" {
				t.Fatal(row.Failed)
			}
			f := row.Samples[0]
			if f["failed"] != 0 || f["flows lost"] != 0 || f["in effect"] != test.inEffect || f["old processes"] != test.processes {
				t.Errorf("figures %v, failures %v; want %v in effect and %v old processes", f, row.Failures, test.inEffect, test.processes)
			}
			for _, m := range s.metrics {
				if _, ok := f[m.name]; !ok {
					t.Errorf("no figure for %s", m.name)
				}
			}
			if f["MB peak"] <= f["MB before"] || f["CPU s"] <= 0 {
				t.Errorf("memory and CPU: %v", f)
			}
		})
	}
}

func TestPeersThatCannotBeChanged(t *testing.T) {
	s := shortChanges(t, reload)
	if _, err := testLab(t).measure(t.Context(), plainPeer(t), s, 0); err == nil || err.Error() != "has no reload" {
		t.Errorf("error %v, want has no reload", err)
	}
}

// A change that cannot be made fails the measurement at once.
func TestChangeThatFails(t *testing.T) {
	plain := plainPeer(t)
	plain.changes = map[string]change{reload: {
		command: plain.command,
		apply:   signalNewest(syscall.SIGKILL),
	}}
	s := shortChanges(t, reload)
	s.atLeast = time.Hour
	_, err := testLab(t).measure(t.Context(), plain, s, 0)
	if err == nil || !strings.Contains(err.Error(), "tcpproxy has ended") {
		t.Errorf("error %v, want that the peer has ended", err)
	}
}

// A changing peer has two sets of backends.
func TestSetupOfChanges(t *testing.T) {
	set, err := testLab(t).setup("dir", size{change: upgrade})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Backends) == 0 || len(set.Others) != len(set.Backends) || set.Others[0] == set.Backends[0] || set.Change != upgrade {
		t.Errorf("setup %+v", set)
	}
}

// Orphans belong to the group of the process that started them, and end with it.
func TestGroupWithOrphans(t *testing.T) {
	if err := adoptOrphans(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p, err := start("orphans", dir, "sh", "-c", `(sleep 1000 & echo $! > orphan); exec sleep 1000`)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	g := &group{id: p.pid(), cpu: make(map[int]float64)}
	two := func() bool {
		c, err := g.count()
		if err != nil {
			t.Fatal(err)
		}
		_, missing := os.Stat(dir + "/orphan")
		return missing == nil && c.processes == 2 && c.pss > 0 && c.at > 0
	}
	testnet.Eventually(t, "two processes", two)
	members, err := g.members()
	if err != nil || len(members) != 2 || members[0].pid != p.pid() {
		t.Fatalf("members %v, %v: the first one has pid %d", members, err, p.pid())
	}
	orphan := members[1].pid
	from := time.Now()
	p.stop()
	if took := time.Since(from); took >= stopTimeout {
		t.Errorf("it took %v", took)
	}
	if running(orphan) {
		t.Errorf("the orphan %d is still there", orphan)
	}
	if members, err = g.members(); err != nil || len(members) != 0 {
		t.Errorf("members %v, %v after the end", members, err)
	}
	if len(g.cpu) != 2 {
		t.Errorf("CPU times %v: those of processes that have ended count", g.cpu)
	}
}
