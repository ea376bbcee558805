package control

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"l4proxy/acl"
	"l4proxy/balancer"
	"l4proxy/clientlimit"
)

// TestLimitsOfClientsAreLive: the counts of a listener's clients carry on under other limits, and
// begin again with other prefixes.
func TestLimitsOfClientsAreLive(t *testing.T) {
	inWorld(t, `
listeners: {a: {bind: "127.0.0.1:1", per_client: {connections: 3, rate: 90/m, with: close}}, b: {bind: "127.0.0.1:2"}}
pools: {one: {backends: ["192.0.2.1:1"]}}
`, func(t *testing.T, w *world) {
		first := w.state.Listeners[0]
		want := clientlimit.Limits{Connections: 3, Rate: 1.5, Burst: 2}
		if got := first.Clients.Limits(); got != want || first.OverLimit != acl.Close || w.state.Listeners[1].Clients != nil {
			t.Errorf("limits %+v, want %+v", got, want)
		}
		client := netip.MustParseAddr("192.0.2.7")
		first.Clients.Take(client, 0)
		again := func(perClient string) *clientlimit.Limiter {
			w.apply(`
listeners: {a: {bind: "127.0.0.1:1"` + perClient + `}, b: {bind: "127.0.0.1:2"}}
pools: {one: {backends: ["192.0.2.1:1"]}}
`)
			return w.state.Listeners[0].Clients
		}
		if l := again(", per_client: {connections: 1}"); l != first.Clients || l.Limits().Connections != 1 || l.Take(client, 0) != clientlimit.OverConnections {
			t.Error("a lower limit does not count the connections from before")
		}
		if again("") != nil {
			t.Error("limits that are not configured")
		}
		if l := again(", per_client: {connections: 1}"); l != first.Clients {
			t.Error("the counts are lost while there are no limits")
		}
		if l := again(", per_client: {connections: 1, ipv4_prefix: 24}"); l == first.Clients || l.Clients() != 0 || l.Limits().Connections != 1 {
			t.Error("counts by another prefix")
		}
		first.Clients.Release(client)
	})
}

// TestPoolLimitIsLive: the limit of a pool counts the connections from before.
func TestPoolLimitIsLive(t *testing.T) {
	const file = `
listeners: {a: {bind: "127.0.0.1:1"}}
pools: {one: {backends: ["192.0.2.1:1"]`
	inWorld(t, file+"}}", func(t *testing.T, w *world) {
		pool := w.state.Listeners[0].Pool.Balancer
		now := w.live.clock()
		b, _ := pool.Pick(balancer.Request{Now: now})
		w.apply(file + ", max_connections: 1}}")
		if _, verdict := pool.Pick(balancer.Request{Now: now}); verdict != balancer.NoBackend {
			t.Errorf("verdict %d in a full pool", verdict)
		}
		pool.Done(b, now)
		if _, verdict := pool.Pick(balancer.Request{Now: now}); verdict != balancer.Picked {
			t.Errorf("verdict %d in a pool with room", verdict)
		}
		if info := w.live.Pools()[0]; info.Connections != 1 || info.Limit != 1 {
			t.Errorf("%d connections of %d", info.Connections, info.Limit)
		}
	})
}

func TestEffectsOfLimits(t *testing.T) {
	for _, test := range []struct {
		change Change
		want   string
	}{
		{Change{Part: "listener", Key: "per_client", New: "{connections: 1}", Connections: 2}, "2 connections stay open, not counted toward these limits"},
		{Change{Part: "listener", Key: "per_client.ipv4_prefix", Connections: 1}, "1 connection stays open, not counted toward these limits"},
		{Change{Part: "listener", Key: "per_client.connections", Connections: 2}, "2 connections stay open"},
		{Change{Part: "listener", Key: "per_client", Old: "{connections: 1}", Connections: 2}, "2 connections stay open"},
		{Change{Part: "listener", Key: "per_client", Connections: 0}, ""},
		{Change{Part: "pool", Key: "max_connections", New: "3", Connections: 5}, "5 connections stay open; no new ones until fewer than 3 are left"},
		{Change{Part: "pool", Key: "max_connections", New: "9", Connections: 5}, ""},
	} {
		effect := listenerEffect(test.change)
		if test.change.Part == "pool" {
			effect = poolEffect(test.change, nil)
		}
		if diff := cmp.Diff(test.want, effect); diff != "" {
			t.Errorf("%+v: (-want +got)\n%s", test.change, diff)
		}
	}
}
