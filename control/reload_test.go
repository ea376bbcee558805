package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"l4proxy/config"
	"l4proxy/discovery"
	"l4proxy/proxy"
)

// reloading is a Reloader in a world. Its file is a text.
type reloading struct {
	*world
	*Reloader
	mu     sync.Mutex
	file   string
	loads  atomic.Int32
	hold   chan struct{} // a load waits until it is closed, nil does not wait
	broken error         // of Install
	most   int           // the last max_connections
	counts proxy.Counts
}

const reloadBase = `
listeners: {web: {bind: "127.0.0.1:1", pool: web}}
pools: {web: {backends: ["192.0.2.1:1", "192.0.2.2:1"]}}
`

// inReload runs a test with a Reloader whose Run runs. edit changes its options.
func inReload(t *testing.T, test func(t *testing.T, r *reloading), edit ...func(*ReloadOptions)) {
	t.Helper()
	inWorld(t, reloadBase, func(t *testing.T, w *world) {
		r := &reloading{world: w, file: reloadBase}
		cfg := parse(t, reloadBase)
		o := ReloadOptions{
			Load:   r.load,
			Lookup: noNames,
			Install: func(s *proxy.State, most int) error {
				r.mu.Lock()
				defer r.mu.Unlock()
				if r.broken == nil {
					w.state, r.most = s, most
				}
				return r.broken
			},
			Counts: func() proxy.Counts {
				r.mu.Lock()
				defer r.mu.Unlock()
				return r.counts
			},
			FileLimit: 10_000, Workers: 2, Log: w.live.log,
		}
		for _, e := range edit {
			e(&o)
		}
		r.Reloader = NewReloader(w.live, cfg, plan(t, cfg, noNames), nil, o)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.Run(ctx) })
		defer running.Wait()
		defer cancel()
		w.logs()
		test(t, r)
	})
}

func (r *reloading) load() (*config.Config, []config.File, error) {
	r.loads.Add(1)
	if r.hold != nil {
		<-r.hold
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg, err := config.Parse("l4proxy.yaml", []byte(r.file), nil)
	return cfg, []config.File{{Name: "l4proxy.yaml"}}, err
}

func (r *reloading) write(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.file = text
}

// failInstall makes Install fail; nil repairs it.
func (r *reloading) failInstall(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = err
}

// edit replaces a part of the file.
func (r *reloading) edit(old, next string) {
	r.t.Helper()
	if !strings.Contains(r.file, old) {
		r.t.Fatalf("no %q in the file", old)
	}
	r.write(strings.Replace(r.file, old, next, 1))
}

func (r *reloading) must(q Request) *Result {
	r.t.Helper()
	result, err := r.Reload(r.t.Context(), q)
	if err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
	return result
}

// addresses are the backends in service.
func (r *reloading) addresses() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.pool().Balancer.Members() {
		all = append(all, m.Address)
	}
	return all
}

func (r *reloading) serves(want ...string) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.addresses()); diff != "" {
		r.t.Errorf("backends in service (-want +got):\n%s", diff)
	}
}

func TestReloadPutsTheFileIntoEffect(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		r.edit(`"192.0.2.2:1"`, `"192.0.2.3:1"`)
		r.write(r.file + "max_connections: 123\nlog: {level: warn}\n")
		r.pass(time.Minute)
		result := r.must(Request{Source: "SIGHUP"})
		r.serves("192.0.2.1:1", "192.0.2.3:1")
		if r.most != 123 || result.Generation != 2 || len(result.Changes) != 4 {
			t.Errorf("max_connections = %d, result %+v", r.most, result)
		}
		r.logged(`level=INFO msg=reloaded source=SIGHUP generation=2 changes=4 summary="process: log.level info -> warn; process: max_connections auto -> 123; `)
		s := r.Status()
		if s.Generation != 2 || !s.LastOK || s.LastSuccess == nil || !s.AppliedAt.Equal(*s.LastSuccess) || s.LastFailure != nil || r.Config().MaxConnections != 123 {
			t.Errorf("status = %+v", s)
		}
	})
}

func TestBadFileChangesNothing(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		before := r.state
		for _, test := range []struct{ text, want string }{
			{"listeners: {web: {bnd: 1}}", `l4proxy.yaml:1:19: unknown key "bnd": did you mean "bind"?`},
			{strings.Replace(reloadBase, "192.0.2.1:1", "unknown.example:1", 1), "l4proxy.yaml:3:26: pool web, backend unknown.example:1: cannot resolve the name"},
			{reloadBase + "max_connections: 100000", "the open file limit of 10000 allows only"},
		} {
			r.write(test.text)
			result, err := r.Reload(t.Context(), Request{Source: "SIGHUP"})
			if err == nil || !strings.Contains(err.Error(), test.want) || result != nil {
				t.Errorf("error %v, want %s", err, test.want)
			}
			log := r.logged(`level=ERROR msg="reload refused: the running configuration stays in effect" source=SIGHUP`)
			if s := r.Status(); s.LastOK || s.LastFailure == nil || !strings.Contains(s.LastFailure.Error, test.want) || s.Generation != 1 {
				t.Errorf("status = %+v\n%s", s, log)
			}
		}
		r.write(reloadBase)
		r.failInstall(errors.New("listener web: address already in use"))
		if _, err := r.Reload(t.Context(), Request{}); !errors.Is(err, r.broken) {
			t.Errorf("error %v", err)
		}
		if r.state != before {
			t.Error("another State is in service")
		}
		r.failInstall(nil)
		r.must(Request{})
		if s := r.Status(); !s.LastOK || s.LastFailure == nil || s.Generation != 2 {
			t.Errorf("status = %+v", s)
		}
	})
}

func TestDryRunChangesNothing(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		before := r.state
		r.edit(`, "192.0.2.2:1"`, "")
		b := r.backend(1)
		b.Acquire()
		defer b.Release()
		result := r.must(Request{DryRun: true})
		if r.state != before || result.Generation != 1 || !result.DryRun || r.Status().LastSuccess != nil || r.logs() != "" {
			t.Errorf("result %+v", result)
		}
		want := []string{"pool web: backend 192.0.2.2:1 removed: 1 connection, drained within 30s, the rest closed within 5s after that (on_removed: drain)"}
		if diff := cmp.Diff(want, inWords(result.Changes)); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		r.write("nonsense")
		if _, err := r.Reload(t.Context(), Request{DryRun: true}); err == nil || !r.Status().LastOK {
			t.Errorf("error %v, status %+v", err, r.Status())
		}
	})
}

func inWords(changes []Change) (lines []string) {
	for _, c := range changes {
		lines = append(lines, c.String())
	}
	return lines
}

// However many ask while a reload runs, one more follows, and it reads the file after all of them
// have asked.
func TestReloadsAreCoalesced(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		r.hold = make(chan struct{})
		var callers sync.WaitGroup
		first := make(chan uint64, 1)
		callers.Go(func() {
			result, err := r.Reload(t.Context(), Request{})
			if err == nil {
				first <- result.Generation
			}
		})
		synctest.Wait()
		generations := make(chan uint64, 200)
		for range 100 {
			callers.Go(func() {
				if result, err := r.Reload(t.Context(), Request{}); err == nil {
					generations <- result.Generation
				}
			})
		}
		for range 100 {
			r.Trigger("SIGHUP")
		}
		synctest.Wait()
		if n := r.loads.Load(); n != 1 {
			t.Errorf("%d loads while the first is held", n)
		}
		close(r.hold)
		callers.Wait()
		synctest.Wait()
		close(generations)
		if g := <-first; g != 2 {
			t.Errorf("the first has generation %d", g)
		}
		for g := range generations {
			if g != 3 {
				t.Errorf("another has generation %d, want 3", g)
			}
		}
		if n := r.loads.Load(); n > 3 { // Run may ask once more
			t.Errorf("%d loads for 201 requests", n)
		}
	})
}

// Different requests do not share a reload, and only some of them may wait.
func TestWaitingReloadsAreBounded(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		r.hold = make(chan struct{})
		var callers sync.WaitGroup
		var refused atomic.Int32
		for i := range maxWaiting + 3 {
			callers.Go(func() {
				_, err := r.Reload(t.Context(), Request{Confirm: time.Duration(i+1) * time.Minute})
				if busy := new(Refused); errors.As(err, &busy) {
					refused.Add(1)
				}
			})
			synctest.Wait()
		}
		close(r.hold)
		callers.Wait()
		if n := refused.Load(); n != 2 { // one runs
			t.Errorf("%d refused, want 2", n)
		}
		if n := r.loads.Load(); n != maxWaiting+1 {
			t.Errorf("%d loads", n)
		}
	})
}

// A reload that no caller still waits for is canceled while it resolves names.
func TestCanceledReloadChangesNothing(t *testing.T) {
	asked := make(chan struct{})
	inReload(t, func(t *testing.T, r *reloading) {
		before := r.state
		r.edit(`"192.0.2.1:1"`, `"slow.example:1"`)
		ctx, cancel := context.WithCancel(t.Context())
		var caller sync.WaitGroup
		caller.Go(func() {
			if _, err := r.Reload(ctx, Request{}); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		})
		<-asked
		cancel()
		caller.Wait()
		synctest.Wait()
		if r.state != before || !r.Status().LastOK {
			t.Error("it was not canceled")
		}
		r.logged("reload canceled")

		r.Trigger("SIGHUP") // and Close cancels what Trigger asked for
		<-asked
		r.Close()
		if _, err := r.Reload(t.Context(), Request{}); err == nil || err.Error() != "no reload now: the proxy is stopping" {
			t.Errorf("error %v", err)
		}
	}, func(o *ReloadOptions) {
		o.Lookup = func(ctx context.Context, _ discovery.Name) ([]discovery.Endpoint, error) {
			asked <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
}

func TestBlockedReloadsAreRefused(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		r.hold = make(chan struct{})
		var others sync.WaitGroup
		others.Go(func() {
			if _, err := r.Reload(t.Context(), Request{}); err != nil {
				t.Error(err) // it was under way
			}
		})
		synctest.Wait()
		blocked := make(chan error, 1)
		others.Go(func() { blocked <- r.Block(t.Context(), "an upgrade is under way") })
		synctest.Wait()
		select {
		case err := <-blocked:
			t.Errorf("Block did not wait for the reload: %v", err)
		default:
		}
		r.Trigger("SIGHUP")
		close(r.hold)
		if err := <-blocked; err != nil {
			t.Error(err)
		}
		others.Wait()
		synctest.Wait()
		r.logged(`level=WARN msg="reload refused" source=SIGHUP error="no reload now: an upgrade is under way"`)
		if _, err := r.Reload(t.Context(), Request{}); err == nil {
			t.Error("a reload while blocked")
		}
		r.must(Request{DryRun: true})
		if err := r.Block(t.Context(), "another"); err == nil || r.Status().Blocked != "an upgrade is under way" {
			t.Errorf("blocked twice: %v", err)
		}
		r.Unblock()
		r.must(Request{Confirm: time.Minute})
		if err := r.Block(t.Context(), "again"); !errors.Is(err, ErrUnconfirmed) {
			t.Errorf("error %v", err)
		}
		if s := r.Status(); s.Blocked != "" {
			t.Errorf("status %+v", s)
		}
	})
}

// A stage that fails changes nothing: the stages before it are aborted, in reverse order.
func TestStages(t *testing.T) {
	var calls []string
	broken := false
	stage := func(name string) Stage {
		return func(running, next *config.Config) (commit, abort func(), err error) {
			if broken && name == "c" {
				return nil, nil, errors.New("admin.bind: address in use")
			}
			calls = append(calls, fmt.Sprintf("prepare %s %d-%d", name, running.MaxConnections, next.MaxConnections))
			return func() { calls = append(calls, "commit "+name) }, func() { calls = append(calls, "abort "+name) }, nil
		}
	}
	inReload(t, func(t *testing.T, r *reloading) {
		r.write(reloadBase + "max_connections: 99")
		r.must(Request{})
		broken = true
		before := r.state
		if _, err := r.Reload(t.Context(), Request{}); err == nil || r.state != before {
			t.Errorf("error %v", err)
		}
		broken = false
		r.failInstall(errors.New("no port"))
		if _, err := r.Reload(t.Context(), Request{}); err == nil {
			t.Error("no error")
		}
		want := []string{
			"prepare a 0-99", "prepare b 0-99", "prepare c 0-99", "commit a", "commit b", "commit c",
			"prepare a 99-99", "prepare b 99-99", "abort b", "abort a",
			"prepare a 99-99", "prepare b 99-99", "prepare c 99-99", "abort c", "abort b", "abort a",
		}
		if diff := cmp.Diff(want, calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	}, func(o *ReloadOptions) { o.Stages = []Stage{stage("a"), stage("b"), stage("c")} })
}

// What takes effect only with a start is reported by each reload, and the rest is applied.
func TestStartSettingsStay(t *testing.T) {
	inReload(t, func(t *testing.T, r *reloading) {
		r.write(reloadBase + "workers: 7\nengine: epoll\nmax_connections: 55\n")
		for range 2 {
			result := r.must(Request{})
			if r.most != 55 || r.Config().Workers != 0 || r.Config().Engine != config.EngineAuto || !result.Changes[0].AtStart {
				t.Errorf("max_connections = %d, running %+v", r.most, r.Config())
			}
			r.logged(`level=WARN msg="takes effect with a restart or an upgrade" setting=workers running=auto configured=7`, "setting=engine")
		}
	})
}
