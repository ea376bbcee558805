package main

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/admin"
	"l4proxy/config"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// TestStats: the Stats show what has happened, and quantiles and shares of the time between two.
func TestStats(t *testing.T) {
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	cfg, err := config.Parse("config.yaml", fmt.Appendf(nil, `
log: {format: json}
drain: {timeout: 0s}
workers: 2
listeners:
  web: {bind: "127.0.0.1:0", pool: web, max_connections: 7}
  closed: {bind: "127.0.0.1:0", pool: web, acl: [{allow: [10.0.0.0/8]}]}
  failing: {bind: "127.0.0.1:0", pool: down}
pools:
  web: {backends: [%q]}
  down: {backends: [%q]}
`, b.Addr, testnet.Refusing(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	p, err := start(t.Context(), cfg, nil, &stderr, nil)
	if err != nil {
		t.Fatal(err)
	}
	signals, served := make(chan os.Signal, 1), make(chan error, 1)
	go func() { served <- p.serve(signals) }()
	defer func() {
		signals <- unix.SIGTERM
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	addr := make(map[string]string)
	for _, a := range p.server.Addrs() {
		addr[a.Listener] = a.Bind.String()
	}

	s := p.sampleStats()
	if len(s.Busy) != 2 || s.Busy[0] != 0 || len(s.Listeners) != 3 || len(s.Pools) != 2 || s.MaxConnections == 0 {
		t.Errorf("the first stats: %+v", s)
	}
	c := testnet.Dial(t, "tcp", addr["web"])
	mustEcho(t, c, "hello")
	for _, listener := range []string{"closed", "failing"} {
		turnedAway := testnet.Dial(t, "tcp", addr[listener])
		_, _ = turnedAway.Read(make([]byte, 100))
		turnedAway.Close()
	}
	var web, closed, failing admin.ListenerStats
	testnet.Eventually(t, "all is counted", func() bool {
		s = p.sampleStats()
		for _, l := range s.Listeners {
			switch l.Name {
			case "web":
				web = l
			case "closed":
				closed = l
			case "failing":
				failing = l
			}
		}
		return web.BytesOut == 5 && closed.Denied == 1 && failing.Failed == 1 && s.Connections == 1
	})
	if web.Accepted != 1 || web.Connections != 1 || web.BytesIn != 5 || web.Denied+web.Failed+closed.Failed+failing.Denied != 0 {
		t.Errorf("listeners: %+v %+v %+v", web, closed, failing)
	}
	down, up := s.Pools[0], s.Pools[1] // by name
	if up.Dials != 1 || up.FailedDials != 0 || up.Connections != 1 || up.Usable != 1 || up.Backends != 1 || !up.Serving {
		t.Errorf("the pool: %+v", up)
	}
	if down.FailedDials == 0 || down.Dials != down.FailedDials || down.DialP50 != 0 {
		t.Errorf("the pool that refuses: %+v", down)
	}
	if s = p.sampleStats(); s.Pools[1].DialP50 != 0 {
		t.Errorf("a quantile without dials: %+v", s.Pools[1])
	}
	mustEcho(t, testnet.Dial(t, "tcp", addr["web"]), "again")
	// Clients of the admin address that ask do not shorten the time that a sample is about.
	asked, err := p.queries().Stats(t.Context())
	if err != nil || len(asked.Listeners) != 3 || len(asked.Pools) != 2 || asked.Pools[1].Dials != 2 {
		t.Errorf("asked by a client: %+v, %v", asked, err)
	}
	if s = p.sampleStats(); s.Pools[1].DialP50 <= 0 || s.Pools[1].DialP99 < s.Pools[1].DialP50 || s.Pools[1].DialP99 > 20 {
		t.Errorf("quantiles after a dial: %+v", s.Pools[1])
	}
}

// TestBusy: the share is that of the time between two looks, and within 0 and 1.
func TestBusy(t *testing.T) {
	var m statsMemory
	at := time.Now()
	look := func(after time.Duration, cpu ...time.Duration) []float64 {
		at = at.Add(after)
		var usages []proxy.LoopUsage
		for _, c := range cpu {
			usages = append(usages, proxy.LoopUsage{CPU: c})
		}
		busy := m.busy(at, usages)
		m.at = at
		return busy
	}
	for _, step := range []struct {
		after time.Duration
		cpu   [2]time.Duration
		want  [2]float64
	}{
		{0, [2]time.Duration{time.Hour, 0}, [2]float64{0, 0}},
		{time.Second, [2]time.Duration{time.Hour + 250*time.Millisecond, time.Second}, [2]float64{0.25, 1}},
		{time.Second, [2]time.Duration{time.Hour + 250*time.Millisecond, 3 * time.Second}, [2]float64{0, 1}},
		{time.Second, [2]time.Duration{-1, 3500 * time.Millisecond}, [2]float64{0, 0.5}},
	} {
		if got := look(step.after, step.cpu[:]...); got[0] != step.want[0] || got[1] != step.want[1] {
			t.Errorf("busy %v, want %v", got, step.want)
		}
	}
}
