package control

import (
	"errors"
	"strings"
	"testing"
	"time"

	"l4proxy/proxy"
)

const guardedPool = `
listeners: {front: {bind: "127.0.0.1:1"}}
pools:
  back:
    backends: ["db.test:80"]
    endpoints: {max_removed: 50%, hold: 5m}
`

var ten = []string{"10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8", "10.0.0.9"}

func (w *world) count(want int) {
	w.t.Helper()
	if n := len(w.live.pools["back"].members); n != want {
		w.t.Errorf("%d backends, want %d: %s", n, want, w.backends())
	}
}

// What is removed too many at once stays for the time of hold. Meanwhile what is new is used.
func TestMassRemovalIsHeldBack(t *testing.T) {
	inNamedWorld(t, guardedPool, ten, func(t *testing.T, w *world) {
		w.pass(time.Minute)
		r := w.update("db.test:80", 1, append([]string{"10.0.1.1"}, ten[:3]...)...)
		if len(r.Added) != 1 || len(r.Removed) != 0 || len(r.HeldBack) != 7 {
			t.Errorf("%+v", r)
		}
		w.count(11)
		w.logged(`level=ERROR msg="removal of backends held back: too many at once" pool=back name=db.test:80 held_back="[10.0.0.3:80`, `max_removed=50% hold=5m0s`)
		if n := w.live.Names()[0]; len(n.HeldBack) != 7 || !n.HeldUntil.Equal(time.Now().Add(5*time.Minute)) {
			t.Errorf("held back until %v: %v", n.HeldUntil, n.HeldBack)
		}
		for g := range uint64(4) {
			w.pass(time.Minute)
			w.update("db.test:80", 2+g, append([]string{"10.0.1.1"}, ten[:2]...)...)
		}
		w.count(11)
		if text := w.logs(); strings.Contains(text, "held back") {
			t.Errorf("logged again: %s", text)
		}
		w.pass(time.Minute)
		r = w.update("db.test:80", 9, append([]string{"10.0.1.1"}, ten[:2]...)...)
		if len(r.Removed) != 8 || len(r.HeldBack) != 0 {
			t.Errorf("%+v", r)
		}
		w.count(3)
		if n := w.live.Names()[0]; len(n.HeldBack) != 0 || !n.HeldUntil.IsZero() {
			t.Errorf("held back until %v: %v", n.HeldUntil, n.HeldBack)
		}
		w.logged(`level=WARN msg="removing the backends that were held back"`)
		w.update("db.test:80", 10, "10.0.0.0", "10.0.0.1") // a third
		w.count(2)
	})
}

// When they are back in time, nothing has happened to them.
func TestHeldBackAndBack(t *testing.T) {
	inNamedWorld(t, guardedPool, ten, func(t *testing.T, w *world) {
		before := w.live.pools["back"].members
		w.update("db.test:80", 1, ten[0])
		w.pass(4 * time.Minute)
		w.logs()
		if r := w.update("db.test:80", 2, ten...); len(r.Added)+len(r.Removed)+len(r.HeldBack) != 0 {
			t.Errorf("%+v", r)
		}
		w.logged(`level=INFO msg="removal of backends no longer held back: they are in use again"`)
		w.pass(4 * time.Minute)
		w.update("db.test:80", 3, ten[0]) // its own time
		w.count(10)
		for i, m := range w.live.pools["back"].members {
			if m.Backend != before[i].Backend {
				t.Errorf("%s was made again", m.Address)
			}
		}
		if len(w.evicted()) > 0 {
			t.Error("connections were ended")
		}
	})
}

func TestGuardAllows(t *testing.T) {
	for what, test := range map[string]struct {
		yaml string
		had  []string
		to   [][]string // one update a second
		want int
	}{
		"half of them":                  {guardedPool, ten, [][]string{ten[:5]}, 5},
		"more than half":                {guardedPool, ten, [][]string{ten[:4]}, 10},
		"one of two":                    {guardedPool, ten[:2], [][]string{ten[:1]}, 1},
		"a move of one":                 {guardedPool, ten[:1], [][]string{ten[1:2]}, 1},
		"a move of all":                 {guardedPool, ten[:5], [][]string{ten[5:]}, 5},
		"small losses in a row":         {guardedPool, ten, [][]string{ten[:8], ten[:6], ten[:5], ten[:4], ten[:2]}, 5},
		"any, with 100%":                {strings.Replace(guardedPool, "50%", "100%", 1), ten, [][]string{ten[:1]}, 1},
		"none, with 1%":                 {strings.Replace(guardedPool, "50%", "1%", 1), ten, [][]string{ten[:9]}, 10},
		"others keep the pool large":    {strings.Replace(guardedPool, `"db.test:80"`, `"db.test:80", "10.9.0.1:1", "10.9.0.2:1"`, 1), ten[:3], [][]string{ten[:1]}, 3},
		"an answer that is empty, none": {guardedPool, ten, [][]string{{}}, 10},
	} {
		inNamedWorld(t, test.yaml, test.had, func(t *testing.T, w *world) {
			for i, to := range test.to {
				w.pass(time.Second)
				w.update("db.test:80", uint64(1+i), to...)
			}
			if n := len(w.live.pools["back"].members); n != test.want {
				t.Errorf("%s: %d backends, want %d", what, n, test.want)
			}
		})
	}
}

func TestForce(t *testing.T) {
	inNamedWorld(t, guardedPool, ten, func(t *testing.T, w *world) {
		u := EndpointUpdate{Pool: "back", Source: "db.test:80", Force: true}
		u.Generation, u.List = 1, endpoints(ten[0])
		if r, err := w.live.SetEndpoints(u); err != nil || len(r.Removed) != 9 || len(r.HeldBack) != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		w.count(1)
	})
}

// A reload keeps what is held back, unless it says that any share may be removed.
func TestReloadWhileHeldBack(t *testing.T) {
	inNamedWorld(t, guardedPool, ten, func(t *testing.T, w *world) {
		w.update("db.test:80", 1, ten[:2]...)
		before := w.live.pools["back"].members
		w.apply(guardedPool)
		w.count(10)
		if w.live.pools["back"].members[5].Backend != before[5].Backend {
			t.Error("a backend was made again")
		}
		if err := w.live.Apply(plan(t, parse(t, strings.Replace(guardedPool, "50%", "100%", 1)), w.lookup), refuse); err == nil {
			t.Error("the State was not refused")
		}
		w.count(10)
		w.pass(5 * time.Minute)
		w.update("db.test:80", 2, ten[:2]...)
		w.count(2)
		w.update("db.test:80", 3, ten...)
		w.update("db.test:80", 4, ten[:3]...)
		w.count(10)
		w.apply(strings.Replace(guardedPool, "50%", "100%", 1))
		w.count(3)
	})
}

func refuse(*proxy.State) error { return errors.New("refused") }
