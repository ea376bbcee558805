package faults

import (
	"testing"
	"time"

	"l4proxy/internal/testload"
	"l4proxy/internal/testnet"
)

// TestFaultUpgradeStall upgrades a proxy with 4,000 connections, each with a message per second.
// It prints how late their answers were. On an idle machine, 99 of 100 connections stand still for
// a few milliseconds. The bound is far from that, because other programs may need the CPUs.
func TestFaultUpgradeStall(t *testing.T) {
	const (
		connections = 4000
		upgrades    = 5
		every       = 1200 * time.Millisecond // more than a message, so that each connection has one
		bound       = time.Second
	)
	engines(t, func(t *testing.T, engine string) {
		origin := testload.Serve(t, 2)
		front := freeAddress(t, "127.0.0.1")
		v := serve(t, settings{engine: engine, binds: []string{front}, backends: origin.Addrs, top: "log: {level: info}"})
		load := origin.Start(t, testload.Spec{Target: front, Exchanges: connections, Interval: time.Second})
		testnet.Eventually(t, "all connections are open", func() bool { return load.Alive() == connections })
		time.Sleep(every)
		load.ForgetStalls()
		time.Sleep(every)
		t.Logf("the longest wait of each connection without an upgrade: %v", load.Stalls())
		for range upgrades {
			load.ForgetStalls()
			v.upgrade()
			time.Sleep(every)
			stalls := load.Stalls()
			t.Logf("with an upgrade: %v", stalls)
			if stalls.P99 > bound {
				t.Errorf("one connection in a hundred stood still for %v and more", stalls.P99)
			}
		}
		t.Logf("old process: accepting paused %s; a batch of connections stood still %s",
			v.figure("accept_pause"), v.figure("longest_batch"))
		load.Stop().MustBeClean(t)
		v.end()
	})
}
