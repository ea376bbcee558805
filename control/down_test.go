package control

import (
	"slices"
	"testing"

	"l4proxy/balancer"
)

// A backend with down: true is not resolved, not checked, not picked and not counted.
func TestBackendsThatAreDown(t *testing.T) {
	cfg := parse(t, `
listeners: {web: {bind: ":80", timeouts: {half_close: off}}}
pools:
  web:
    backends: [{address: "gone.test:80", down: true}, "10.0.0.1:80", {address: "10.0.0.2:80", down: true, backup: true}, "10.0.0.3:80"]
    health: {}
    panic_threshold: 50%
`)
	p := plan(t, cfg, noNames)
	state := stateOf(t, p)
	pool := state.Listeners[0].Pool
	if len(pool.Balancer.Members()) != 2 || len(p.Pools[0].Checks.Targets) != 2 {
		t.Fatalf("%d backends, %d to check; want 2 of each", len(pool.Balancer.Members()), len(p.Pools[0].Checks.Targets))
	}
	for range 8 {
		if b, _ := pool.Balancer.Pick(balancer.Request{}); b == nil || b.Address != "10.0.0.1:80" && b.Address != "10.0.0.3:80" {
			t.Errorf("picked %+v", b)
		}
	}
	if !state.Listeners[0].CloseOnFIN {
		t.Error("half_close: off is lost on the way")
	}
}

// A pool whose backends are all down serves no client, and a listener with when_no_backend:
// unlisten is closed.
func TestPoolThatIsDown(t *testing.T) {
	for _, policy := range balancer.Names() {
		inWorld(t, "listeners: {web: {bind: \":80\", when_no_backend: unlisten}}\n"+
			"pools: {web: {policy: "+policy+", backends: [{address: \"10.0.0.1:80\", down: true}], health: {}}}\n", func(t *testing.T, w *world) {
			if b, _ := w.pool().Balancer.Pick(balancer.Request{}); b != nil {
				t.Errorf("%s: picked %+v", policy, b)
			}
			if got := w.listens(); !slices.Equal(got, []listening{{"web", false}}) {
				t.Errorf("%s: listening %v, want once false", policy, got)
			}
		})
	}
}
