package control

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Unconfirmed describes a configuration that is in effect, but only for a time.
type Unconfirmed struct {
	// Until is when it is rolled back or, with KeepAfter, kept.
	Until     time.Time `json:"until"`
	KeepAfter bool      `json:"keep_after,omitempty"`
	// RollsBackTo is the generation to return to.
	RollsBackTo uint64       `json:"rolls_back_to"`
	Guard       *ReloadGuard `json:"guard,omitempty"`
}

// then says what happens at the end.
func (u *Unconfirmed) then() string {
	if u.KeepAfter {
		return "keep"
	}
	return "roll back"
}

// trial is the time in which the running configuration is unconfirmed.
type trial struct {
	Unconfirmed
	confirmed *configured // the last one that was kept
	before    sample      // of the time before
	stop      chan struct{}
}

const (
	// guardEvery is how often a Guard looks.
	guardEvery = 250 * time.Millisecond
	// rollbackRetry is the time until the next try after a rollback has failed.
	rollbackRetry = 5 * time.Second
)

// The errors of Keep and Rollback.
var (
	ErrNothingToKeep     = errors.New("nothing to keep: the running configuration is confirmed")
	ErrNothingToRollBack = errors.New("nothing to roll back: the running configuration is confirmed")
)

// startTrial begins a trial, even if one is under way: that one ends, and the configuration to
// return to stays the last one that was kept. r.mu is held.
func (r *Reloader) startTrial(q Request, confirmed *configured, before sample) {
	r.endTrial()
	length := q.Confirm
	if length == 0 {
		length = DefaultConfirm
	}
	t := &trial{confirmed: confirmed, before: before, stop: make(chan struct{})}
	t.Unconfirmed = Unconfirmed{
		Until: time.Now().Add(length), KeepAfter: q.Confirm == 0, RollsBackTo: confirmed.generation,
	}
	if q.Guard != nil {
		g := q.Guard.withDefaults()
		t.Guard = &g
	}
	r.trial = t
	r.rounds.Go(func() { r.watchTrial(t, length) })
}

// endTrial ends the trial, if there is one. r.mu is held.
func (r *Reloader) endTrial() {
	if r.trial != nil {
		close(r.trial.stop)
		r.trial = nil
	}
}

func (r *Reloader) unconfirmed() *Unconfirmed {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trial == nil {
		return nil
	}
	u := r.trial.Unconfirmed
	return &u
}

// watchTrial waits until a trial has ended, is over, or its guard objects.
func (r *Reloader) watchTrial(t *trial, length time.Duration) {
	over := time.NewTimer(length)
	defer over.Stop()
	var look <-chan time.Time
	if t.Guard != nil {
		ticker := time.NewTicker(guardEvery)
		defer ticker.Stop()
		look = ticker.C
	}
	reason := "not confirmed in time"
	for {
		select {
		case <-t.stop:
			return
		case <-r.ctx.Done():
			return
		case <-over.C:
			if t.KeepAfter {
				if r.keep(t) == nil {
					r.log.Info("configuration kept: the guard found nothing worse")
				}
				return
			}
		case <-look:
			worse := t.Guard.worse(t.before, r.measure())
			if worse == "" {
				continue
			}
			reason = "guard: " + worse
		}
		if err := r.rollBack(t, reason); err == nil || errors.Is(err, ErrNothingToRollBack) {
			return
		}
		t.KeepAfter = false
		look = nil
		over.Reset(rollbackRetry)
	}
}

// Keep confirms the running configuration.
func (r *Reloader) Keep() error {
	if err := r.keep(nil); err != nil {
		return err
	}
	r.log.Info("configuration kept")
	return nil
}

// keep ends the trial t, nil for any.
func (r *Reloader) keep(t *trial) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trial == nil || t != nil && r.trial != t {
		return ErrNothingToKeep
	}
	r.endTrial()
	return nil
}

// Rollback puts the last confirmed configuration into effect again, if the running one is
// unconfirmed. If that fails, the running one stays unconfirmed, and the rollback is tried again at
// the end of its time.
func (r *Reloader) Rollback() error {
	r.mu.Lock()
	t := r.trial
	r.mu.Unlock()
	if t == nil {
		return ErrNothingToRollBack
	}
	return r.rollBack(t, "requested")
}

// rollBack ends the trial t by returning to the last confirmed configuration.
func (r *Reloader) rollBack(t *trial, reason string) error {
	if err := r.takeTurn(r.ctx); err != nil {
		return err
	}
	defer r.giveTurn()
	r.mu.Lock()
	current := r.trial == t
	from := r.running.generation
	r.mu.Unlock()
	if !current { // kept, or replaced, meanwhile
		return ErrNothingToRollBack
	}
	if err := r.apply(t.confirmed); err != nil {
		err = fmt.Errorf("cannot roll back: %w", err)
		r.log.Error("rollback failed: the unconfirmed configuration stays in effect", "reason", reason, "error", err.Error())
		return err
	}
	r.mark = r.measure() // what failed until now says nothing about the configuration that is back
	r.mu.Lock()
	back := *t.confirmed
	back.generation = r.history.generation + 1
	r.running = &back
	now := time.Now()
	r.history.applied(back.generation, now)
	r.history.rolledBack(Rollback{At: now, From: from, Reason: reason})
	if r.trial == t {
		r.endTrial()
	}
	r.mu.Unlock()
	r.watch() // whether files are watched may have changed
	r.log.Warn("configuration rolled back: the file still has the change", "reason", reason,
		slog.Uint64("from", from), slog.Uint64("to", t.RollsBackTo), slog.Uint64("generation", back.generation))
	return nil
}
