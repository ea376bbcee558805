package control

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"l4proxy/backend"
	"l4proxy/discovery"
	"l4proxy/proxy"
)

const two = `"192.0.2.1:1", "192.0.2.2:1"`

func TestUnconfirmedReloadIsRolledBack(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		r.edit(two, `"192.0.2.9:1"`)
		result := r.must(Request{Confirm: time.Minute, Source: "api"})
		r.serves("192.0.2.9:1")
		if u := result.Unconfirmed; u == nil || !u.Until.Equal(time.Now().Add(time.Minute)) || u.KeepAfter || u.RollsBackTo != 1 {
			t.Errorf("unconfirmed = %+v", result.Unconfirmed)
		}
		r.logged("unconfirmed_until=2000-01-01T00:01:00Z", `then="roll back"`)
		r.pass(time.Minute - time.Millisecond)
		r.serves("192.0.2.9:1")
		r.pass(time.Millisecond)
		r.serves("192.0.2.1:1", "192.0.2.2:1")
		r.logged(`level=WARN msg="configuration rolled back: the file still has the change" reason="not confirmed in time" from=2 to=1 generation=3`)
		s := r.Status()
		if s.Generation != 3 || s.Unconfirmed != nil || s.LastRollback == nil || s.LastRollback.From != 2 || !s.LastOK {
			t.Errorf("status = %+v", s)
		}
		if err := r.Keep(); !errors.Is(err, ErrNothingToKeep) {
			t.Errorf("error %v", err)
		}
		if err := r.Rollback(); !errors.Is(err, ErrNothingToRollBack) {
			t.Errorf("error %v", err)
		}
	})
}

func TestKeptReloadStays(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		r.edit(two, `"192.0.2.9:1"`)
		r.must(Request{Confirm: time.Minute})
		r.pass(59 * time.Second)
		if err := r.Keep(); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Hour)
		r.serves("192.0.2.9:1")
		if s := r.Status(); s.Unconfirmed != nil || s.Generation != 2 {
			t.Errorf("status = %+v", s)
		}
	})
}

func TestRollbackAtOnce(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		r.edit(two, `"192.0.2.9:1"`)
		r.must(Request{Confirm: time.Minute})
		if err := r.Rollback(); err != nil {
			t.Fatal(err)
		}
		r.serves("192.0.2.1:1", "192.0.2.2:1")
		r.pass(time.Hour)
		if s := r.Status(); s.Generation != 3 {
			t.Errorf("status = %+v", s)
		}
	})
}

// Whatever is reloaded while a configuration is unconfirmed is unconfirmed too, and the one to
// return to stays the last that was kept. A plain reload does not move the deadline: a SIGHUP of
// logrotate must not confirm anything.
func TestReloadWhileUnconfirmed(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		r.edit(two, `"192.0.2.8:1"`)
		r.must(Request{Confirm: time.Minute})
		r.pass(40 * time.Second)
		r.edit("192.0.2.8", "192.0.2.9")
		if u := r.must(Request{}).Unconfirmed; u == nil || !u.Until.Equal(time.Now().Add(20*time.Second)) || u.RollsBackTo != 1 {
			t.Errorf("unconfirmed = %+v", u)
		}
		r.write("nonsense")
		if _, err := r.Reload(t.Context(), Request{}); err == nil {
			t.Error("no error")
		}
		r.pass(19 * time.Second)
		r.serves("192.0.2.9:1")
		r.write(reloadBase)
		r.edit(two, `"192.0.2.7:1"`)
		r.must(Request{Confirm: time.Minute}) // this one moves it
		r.pass(59 * time.Second)
		r.serves("192.0.2.7:1")
		r.pass(time.Second)
		r.serves("192.0.2.1:1", "192.0.2.2:1")
	})
}

// A rollback that fails is tried again: its listener may be taken for a moment.
func TestFailedRollbackIsTriedAgain(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		r.edit(two, `"192.0.2.9:1"`)
		r.must(Request{Confirm: time.Minute})
		r.failInstall(errors.New("listener web: address already in use"))
		r.pass(time.Minute)
		r.serves("192.0.2.9:1")
		r.logged(`level=ERROR msg="rollback failed: the unconfirmed configuration stays in effect"`)
		if r.Status().Unconfirmed == nil {
			t.Error("confirmed")
		}
		r.failInstall(nil)
		r.pass(rollbackRetry)
		r.serves("192.0.2.1:1", "192.0.2.2:1")
	})
}

// The process may stop while a configuration is unconfirmed.
func TestCloseWhileUnconfirmed(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		r.edit(two, `"192.0.2.9:1"`)
		r.must(Request{Confirm: time.Minute})
		r.Close()
		r.logged("stopping with an unconfirmed configuration")
		r.pass(time.Hour)
		r.serves("192.0.2.9:1")
	})
}

func TestGuardRollsBackWhenBackendsFail(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		r.edit(two, two+`, "192.0.2.8:1", "192.0.2.9:1"`)
		r.must(Request{Confirm: time.Minute, Guard: new(ReloadGuard)})
		eject := func(i int) { r.backend(i).Eject(int64(time.Hour), 1) }
		eject(2) // 3 of 4 are usable: the margin is 30 points
		r.pass(time.Second)
		r.serves("192.0.2.1:1", "192.0.2.2:1", "192.0.2.8:1", "192.0.2.9:1")
		eject(3)
		r.pass(time.Second)
		r.serves("192.0.2.1:1", "192.0.2.2:1")
		r.logged(`reason="guard: 2 of 4 backends of pool web are usable (before 2 of 2)"`)
	})
}

// What was bad before is not worse.
func TestGuardComparesWithTheTimeBefore(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		r.backend(0).SetHealth(backend.HealthDown)
		r.must(Request{Guard: new(ReloadGuard)})
		if u := r.Status().Unconfirmed; u == nil || !u.KeepAfter || u.Guard == nil || *u.Guard != DefaultReloadGuard {
			t.Errorf("unconfirmed = %+v", u)
		}
		r.pass(DefaultConfirm)
		r.logged(`msg="configuration kept: the guard found nothing worse"`)
		if s := r.Status(); s.Generation != 2 || s.Unconfirmed != nil {
			t.Errorf("status = %+v", s)
		}
	})
}

func TestGuardJudgesConnections(t *testing.T) {
	of := func(some, all uint64) map[string]tally { return map[string]tally{"web": {some, all}} }
	before := sample{listeners: of(100, 10_000), failedBefore: 0.02}
	for _, test := range []struct {
		name string
		now  map[string]tally
		want string
	}{
		{"none", of(100, 10_000), ""},
		{"too few to judge", of(119, 10_019), ""},
		{"enough", of(120, 10_020), "20 of 20 new connections were not served (100.0%, before 2.0%)"},
		{"within the margin", of(170, 11_000), ""},
		{"past the margin", of(171, 11_000), "71 of 1000 new connections were not served (7.1%, before 2.0%)"},
		{"the listener is a new one", of(30, 30), "30 of 30 new connections were not served (100.0%, before 2.0%)"},
		{"another listener", map[string]tally{"other": {0, 50}}, ""},
	} {
		if got := DefaultReloadGuard.worse(before, sample{listeners: test.now}); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestRequestsAreChecked(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		for _, q := range []Request{
			{Confirm: -time.Second}, {Confirm: time.Millisecond}, {Confirm: 48 * time.Hour}, {Guard: &ReloadGuard{Failed: 101}},
			{Guard: &ReloadGuard{Unusable: -1}}, {Guard: &ReloadGuard{Least: -1}},
		} {
			if _, err := r.Reload(t.Context(), q); err == nil {
				t.Errorf("%+v was accepted", q)
			}
		}
		synctest.Wait()
		if n := r.loads.Load(); n != 0 {
			t.Errorf("%d loads", n)
		}
	})
}

// A name that only the confirmed configuration has comes back with the addresses that it had last,
// not with those of the day when the configuration was read.
func TestRollbackKnowsTheLatestEndpoints(t *testing.T) {
	server := names{known: map[string][]string{"db.test": {"10.0.0.1"}}}
	inReload(t, func(t *testing.T, r *reloading) {
		named := `"db.test:80"`
		r.edit(two, named)
		r.must(Request{})
		r.serves("10.0.0.1:80")
		if _, err := r.world.live.SetEndpoints(EndpointUpdate{Pool: "web", Source: "db.test:80",
			Endpoints: discovery.Endpoints{Generation: 1, List: endpoints("10.0.0.2", "10.0.0.3")}}); err != nil {
			t.Fatal(err)
		}
		r.edit(named, two)
		r.must(Request{Confirm: time.Minute})
		r.serves("192.0.2.1:1", "192.0.2.2:1")
		r.pass(time.Minute)
		r.serves("10.0.0.2:80", "10.0.0.3:80")
	}, func(o *ReloadOptions) { o.Lookup = server.lookup })
}

// Clients that a configuration failed before it was rolled back do not excuse the next one: the
// time before that one begins with the rollback.
func TestGuardForgetsWhatWasRolledBack(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		accepted := func(n uint64) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.counts.Listeners = []proxy.ListenerCounts{{Listener: &proxy.Listener{Name: "web"}, Accepted: n}}
		}
		accepted(100)
		r.must(Request{Confirm: time.Minute})
		accepted(300)
		if err := r.Rollback(); err != nil {
			t.Fatal(err)
		}
		accepted(350)
		if n := r.measure().since(r.mark).all; n != 50 {
			t.Errorf("%d clients came since the last change, want 50", n)
		}
	})
}
