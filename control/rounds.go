package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// round is one reload, for all equal requests that came before it began.
type round struct {
	request Request
	ctx     context.Context // done when no caller waits
	cancel  context.CancelFunc
	callers int
	done    chan struct{}
	result  *Result
	err     error
}

// roundKey is the same for requests that one reload can serve.
type roundKey struct {
	dryRun  bool
	quiet   bool
	confirm time.Duration
	guarded bool
	guard   ReloadGuard
}

func (q *Request) key() roundKey {
	k := roundKey{dryRun: q.DryRun, quiet: q.Quiet, confirm: q.Confirm, guarded: q.Guard != nil}
	if q.Guard != nil {
		k.guard = *q.Guard
	}
	return k
}

// Reload reads the configuration again and puts it into effect. If it has any problem, the running
// one stays in effect, and the error has a line for each problem.
//
// One reload runs at a time. Equal requests share the next one: however many come while one runs,
// one more is enough, since it begins after all of them. When ctx is done, Reload returns; a reload
// that no caller still waits for is canceled, unless it is too late for that.
func (r *Reloader) Reload(ctx context.Context, q Request) (*Result, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	d, err := r.join(q)
	if err != nil {
		return nil, err
	}
	select {
	case <-d.done:
		return d.result, d.err
	case <-ctx.Done():
		r.leave(d)
		return nil, context.Cause(ctx)
	}
}

// join adds a caller to the round that is next for its request.
func (r *Reloader) join(q Request) (*round, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.refusal(q); err != nil {
		return nil, err
	}
	key := q.key()
	d := r.waiting[key]
	if d == nil {
		if len(r.waiting) >= maxWaiting {
			return nil, &Refused{fmt.Sprintf("%d others are waiting, try again later", len(r.waiting))}
		}
		d = &round{request: q, done: make(chan struct{})}
		d.ctx, d.cancel = context.WithCancel(r.ctx)
		r.waiting[key] = d
		r.rounds.Go(func() { r.run(d) })
	}
	d.callers++
	return d, nil
}

// refusal is the error for a request while reloads are blocked. A dry run changes nothing, so it is
// allowed. r.mu is held.
func (r *Reloader) refusal(q Request) error {
	if r.ctx.Err() == nil && (q.DryRun || r.blocked == "") {
		return nil
	}
	return &Refused{r.blocked}
}

func (r *Reloader) leave(d *round) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d.callers--
	if d.callers == 0 {
		d.cancel()
		r.begun(d)
	}
}

// begun makes sure that no other caller joins a round. r.mu is held.
func (r *Reloader) begun(d *round) {
	if key := d.request.key(); r.waiting[key] == d {
		delete(r.waiting, key)
	}
}

// run waits for its turn and reloads.
func (r *Reloader) run(d *round) {
	defer close(d.done)
	defer d.cancel()
	d.err = r.takeTurn(d.ctx)
	r.mu.Lock()
	r.begun(d)
	if d.err == nil {
		defer r.giveTurn()
		d.err = r.refusal(d.request)
	}
	r.busy = d.err == nil && !d.request.DryRun
	r.mu.Unlock()
	if d.err != nil {
		return
	}
	if r.o.Reloading != nil && !d.request.DryRun {
		r.o.Reloading(true)
		defer r.o.Reloading(false)
	}
	d.result, d.err = r.perform(d.ctx, d.request)
	r.mu.Lock()
	r.busy = false
	if !d.request.DryRun && !errors.Is(d.err, context.Canceled) {
		r.history.attempted(d.err, time.Now())
	}
	r.mu.Unlock()
	r.logResult(d.request, d.result, d.err)
}

// maxErrorLines are logged of an error, and kept. "l4proxy check" prints them all.
const maxErrorLines = 20

func firstLines(text string) string {
	lines := strings.Split(text, "\n")
	if more := len(lines) - maxErrorLines; more > 0 {
		lines = append(lines[:maxErrorLines], fmt.Sprintf("%d more lines: run l4proxy check", more))
	}
	return strings.Join(lines, "\n")
}
