package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"l4proxy/upgrade"
)

// upgrades are the upgrades of a process: one at a time, and at most one that succeeds.
type upgrades struct {
	program upgrade.Program // without a Binary, there are none

	mu      sync.Mutex
	refusal error                   // why no upgrade can begin
	cancel  context.CancelCauseFunc // of the one under way
	ended   chan struct{}           // closed when that has ended
	stopped bool
	result  upgrade.Result // of the one that succeeded
	counts  upgradeCounts
	// divided is open while two processes count; nil if one does. See settled.
	divided chan struct{}
	frozen  bool // live state has been handed over, and must not change here
}

var (
	errUpgrading    = errors.New("an upgrade is under way")
	errShuttingDown = errors.New("the process is shutting down")
	errHandedOver   = errors.New("the process has handed over to another one")
	errNoProgram    = errors.New("only run can be upgraded")
)

// begin reserves the upgrade for its caller, who calls end.
func (u *upgrades) begin(ctx context.Context) (context.Context, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.program.Binary == "" {
		return nil, errNoProgram
	}
	if u.refusal != nil {
		return nil, u.refusal
	}
	u.refusal = errUpgrading
	ctx, u.cancel = context.WithCancelCause(ctx)
	u.ended = make(chan struct{})
	return ctx, nil
}

func (u *upgrades) end(result upgrade.Result, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cancel(nil)
	close(u.ended)
	u.divide(false)
	if err != nil {
		u.counts.Failed++
	}
	switch {
	case err == nil:
		u.result, u.refusal = result, errHandedOver
	case u.stopped:
		u.refusal = errShuttingDown
	default:
		u.refusal = nil
	}
}

// stop refuses further upgrades because the process stops for a reason, and ends the one under way.
// handedOver reports that it was too late for that: the new process serves.
func (u *upgrades) stop(reason error) (result upgrade.Result, handedOver bool) {
	u.mu.Lock()
	u.stopped = true
	ended := u.ended
	if u.refusal == nil {
		u.refusal = errShuttingDown
	} else if u.cancel != nil {
		u.cancel(reason)
	}
	u.mu.Unlock()
	if ended != nil {
		<-ended
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.result, u.refusal == errHandedOver
}

// upgradeCounts are the upgrades of the service so far.
type upgradeCounts struct {
	Succeeded uint64 `json:"succeeded"`
	Failed    uint64 `json:"failed"`
}

// counted returns the counts.
func (u *upgrades) counted() upgradeCounts {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.counts
}

// next are the counts of the process after this one.
func (c upgradeCounts) next() upgradeCounts {
	c.Succeeded++
	return c
}

// carryOn takes the counts of the process before this one.
func (u *upgrades) carryOn(c upgradeCounts) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.counts = c
}

// divide notes that two processes count for the service, or that one does again.
func (u *upgrades) divide(on bool) {
	if on == (u.divided != nil) {
		return
	}
	if on {
		u.divided = make(chan struct{})
		return
	}
	close(u.divided)
	u.divided = nil
}

// settled waits until the counts of this process are those of the service. It reports false if that
// takes longer than patience, or if they are those of another process now.
//
// While connections move, the old process has counted what the new one does not know yet, and the
// other way round; and both may get requests to the admin address.
func (u *upgrades) settled(ctx context.Context, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	u.mu.Lock()
	divided := u.divided
	u.mu.Unlock()
	if divided != nil {
		select {
		case <-divided:
		case <-ctx.Done():
			return false
		}
	}
	_, handedOver := u.succeeded()
	return !handedOver
}

// freeze keeps operators from changing live state that the next process has already, or ends that.
func (u *upgrades) freeze(on bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.frozen = on
	u.divide(on)
}

// change makes a change of live state, unless it would be lost: then it returns why.
func (u *upgrades) change(make func() error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.frozen {
		return u.refusal
	}
	return make()
}

// running reports whether an upgrade is in progress.
func (u *upgrades) running() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.refusal == errUpgrading
}

// succeeded returns the upgrade after which another process serves.
func (u *upgrades) succeeded() (result upgrade.Result, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.result, u.refusal == errHandedOver
}

// block refuses upgrades while this process takes over from another one.
func (u *upgrades) block(on bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.divide(on)
	switch {
	case u.stopped:
	case on:
		u.refusal = errUpgrading
	default:
		u.refusal = nil
	}
}

// stopping reports whether the process is shutting down.
func (u *upgrades) stopping() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.stopped
}
