package control

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"l4proxy/config"
	"l4proxy/proxy"
)

// The steps of one reload: read, compare, apply, note, log.

// perform reads a configuration and puts it into effect. The turn is held.
func (r *Reloader) perform(ctx context.Context, q Request) (*Result, error) {
	began := time.Now()
	next, result, err := r.read(ctx, q)
	if !q.DryRun {
		defer r.watch()
	}
	if err != nil {
		return nil, err
	}
	result.DryRun = q.DryRun
	if !q.DryRun {
		before := r.measure()
		before.failedBefore = before.since(r.mark).share(0)
		r.noteEndpoints()
		if err := r.apply(next); err != nil {
			return nil, err
		}
		r.mark = r.measure()
		r.took(next, q, before)
		result.Generation, result.Unconfirmed = next.generation, r.unconfirmed()
	}
	result.Seconds = time.Since(began).Seconds()
	return result, nil
}

// read reads a configuration, checks all that can be checked, and compares it with the running one.
func (r *Reloader) read(ctx context.Context, q Request) (*configured, *Result, error) {
	cfg, files, err := r.load(ctx)
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	r.mu.Lock()
	if !q.DryRun { // which must not hide a change from the watching
		r.files = files
	}
	running := r.running
	r.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	facts := Gather(ctx, cfg, r.o.Lookup)
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if running.plan != nil {
		facts.Lists = running.plan.Lists
	}
	plan, err := Build(cfg, facts)
	if err != nil {
		return nil, nil, err
	}
	next := &configured{cfg: cfg, plan: plan, generation: running.generation}
	if _, err := r.maxConnections(next); err != nil {
		return nil, nil, err
	}
	result := &Result{
		Generation: running.generation,
		Changes:    compare(r.live, running, next),
		Warnings:   []string{},
	}
	for _, w := range cfg.Warnings {
		result.Warnings = append(result.Warnings, w.Error())
	}
	return next, result, nil
}

// load calls Load, but does not wait longer than ctx: a file system may hang.
func (r *Reloader) load(ctx context.Context) (cfg *config.Config, files []config.File, err error) {
	loaded := make(chan func(), 1)
	go func() {
		c, f, e := r.o.Load()
		loaded <- func() { cfg, files, err = c, f, e }
	}()
	select {
	case take := <-loaded:
		take()
		return cfg, files, err
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
}

func (r *Reloader) maxConnections(next *configured) (int, error) {
	return MaxConnections(next.cfg.MaxConnections, r.o.FileLimit, r.o.Workers,
		next.plan.ListenSockets(r.o.Workers), next.plan.OtherDescriptors())
}

// apply puts a configuration into effect, or changes nothing. The turn is held.
func (r *Reloader) apply(next *configured) error {
	most, err := r.maxConnections(next)
	if err != nil {
		return err
	}
	running := r.Config()
	var commits, aborts []func()
	for _, stage := range r.o.Stages {
		commit, abort, stageErr := stage(running, next.cfg)
		if err = stageErr; err != nil {
			break
		}
		commits, aborts = append(commits, commit), append(aborts, abort)
	}
	if err == nil {
		err = r.live.Apply(next.plan, func(s *proxy.State) error { return r.o.Install(s, most) })
	}
	if err != nil {
		for i := len(aborts) - 1; i >= 0; i-- {
			call(aborts[i])
		}
		return err
	}
	for _, commit := range commits {
		call(commit)
	}
	return nil
}

func call(f func()) {
	if f != nil {
		f()
	}
}

// noteEndpoints updates the plan of the running configuration, which may be put into effect again
// much later: the addresses that its names had at first may be long gone. The turn is held.
func (r *Reloader) noteEndpoints() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running.plan = r.live.withEndpoints(r.running.plan)
}

// took notes that a configuration is in effect. The turn is held.
func (r *Reloader) took(next *configured, q Request, before sample) {
	keepStartSettings(next.cfg, r.Config())
	r.mu.Lock()
	defer r.mu.Unlock()
	confirmed := r.running
	if r.trial != nil {
		confirmed = r.trial.confirmed
	}
	next.generation = r.history.generation + 1
	r.running = next
	r.history.applied(next.generation, time.Now())
	if q.Confirm > 0 || q.Guard != nil {
		r.startTrial(q, confirmed, before)
	}
}

// logResult logs how a reload ended.
func (r *Reloader) logResult(q Request, result *Result, err error) {
	source := slog.String("source", q.Source)
	switch {
	case q.Quiet:
	case errors.Is(err, context.Canceled):
		r.log.Warn("reload canceled: the running configuration stays in effect", source)
	case err != nil:
		r.log.Error("reload refused: the running configuration stays in effect", source, "error", firstLines(err.Error()))
	case !q.DryRun:
		for _, w := range result.Warnings {
			r.log.Warn("configuration: " + w)
		}
		for _, c := range result.Changes {
			if c.AtStart {
				r.log.Warn("takes effect with a restart or an upgrade", "setting", c.Key, "running", c.Old, "configured", c.New)
			}
		}
		attributes := []any{source, "generation", result.Generation, "changes", len(result.Changes),
			"summary", summary(result.Changes), slog.Float64("duration", roundedSeconds(result.Seconds))}
		if u := result.Unconfirmed; u != nil {
			attributes = append(attributes, "unconfirmed_until", u.Until.UTC().Format(time.RFC3339), "then", u.then())
		}
		r.log.Info("reloaded", attributes...)
	}
}

func roundedSeconds(s float64) float64 {
	return time.Duration(s * float64(time.Second)).Round(time.Microsecond).Seconds()
}
