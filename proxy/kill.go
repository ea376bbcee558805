package proxy

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	// killsMost is how many kills may be under way, killLongest how long one may take.
	killsMost   = 4
	killLongest = time.Hour
	// killEvery is the least pause of a kill with a rate, killSlice the most connections that are
	// ended in one go.
	killEvery = 50 * time.Millisecond
	restMost  = 200 * time.Millisecond // between two looks for a hand-over
	killSlice = 32
)

// Kill describes which connections to end.
type Kill struct {
	ConnFilter
	// Rate is how many connections are ended per second; 0 ends all at once.
	Rate float64
	// DryRun ends none.
	DryRun bool
	// Sample is the most connections in KillResult.Sample.
	Sample int
	// Begin, if set, is called before the first connection is ended, and Done when the kill is
	// over. Neither is called for a dry run, or if no connection matches.
	Begin func(matched int)
	Done  func(KillReport)
}

// KillResult is what Server.Kill has done when it returns.
type KillResult struct {
	Matched int
	// Killed have been ended. With a rate, the others follow within Left.
	Killed int
	Left   time.Duration
	// Sample are some of the connections that matched, the oldest first.
	Sample []ConnInfo
}

// KillReport is what became of a kill.
type KillReport struct {
	Matched int
	Killed  int
	// Spared had ended, or did not match any more, when their turn came.
	Spared int
	Took   time.Duration
	// Err is why the kill has ended early: ErrHandedOver, or that the server has stopped.
	Err error
}

// Errors of Kill.
var (
	ErrKillsBusy   = errors.New("too many kills are under way")
	ErrKillTooLong = errors.New("at this rate, the kill takes longer than an hour")
	ErrHandedOver  = errors.New("another process has taken over the connections")
)

// Kill ends the connections that match now: those that wait for a backend too, but not those that
// are ending already. Each is compared with the filter again when its turn comes, the oldest one
// first. Without a rate, Kill returns when the last one was ended. With a rate, it returns at once
// and the rest is done meanwhile; the end of the server or a hand-over ends it.
//
// A connection is ended with a FIN if it is quiet, or not connected to a backend yet, otherwise
// with a reset; see cutOff. Its reason is ReasonKilled.
func (s *Server) Kill(ctx context.Context, k Kill) (*KillResult, error) {
	job := &killJob{Kill: k, server: s, began: time.Now(), handOvers: s.phase.done.Load()}
	if err := job.find(ctx); err != nil {
		return nil, err
	}
	result := &KillResult{Matched: len(job.targets)}
	if k.Rate > 0 && result.Matched > 0 {
		result.Left = time.Duration(float64(result.Matched-1) / k.Rate * float64(time.Second))
	}
	if result.Left > killLongest {
		return result, ErrKillTooLong
	}
	var err error
	if result.Sample, err = s.sample(ctx, &k.ConnFilter, job.targets[:min(k.Sample, result.Matched)]); err != nil {
		return nil, err
	}
	if k.DryRun || result.Matched == 0 {
		return result, nil
	}
	if err := s.kills.start(); err != nil {
		return result, err
	}
	if k.Begin != nil {
		k.Begin(result.Matched)
	}
	if k.Rate > 0 {
		go job.run(context.Background())
		return result, nil
	}
	report := job.run(ctx)
	result.Killed = report.Killed
	return result, report.Err
}

// sample describes connections.
func (s *Server) sample(ctx context.Context, f *ConnFilter, keys []connKey) (infos []ConnInfo, err error) {
	found, err := s.details(ctx, f, keys)
	for _, d := range found {
		if d.found {
			infos = append(infos, d.ConnInfo)
		}
	}
	return infos, err
}

// A killJob is a kill under way. It runs on a goroutine, and what it needs from the loops are short
// tasks.
type killJob struct {
	Kill
	server    *Server
	began     time.Time
	handOvers uint32    // that were done when it began
	targets   []connKey // that are still to be ended, in order
	slicing   []slicing // by worker
}

// find finds the targets.
func (j *killJob) find(ctx context.Context) (err error) {
	var rows []connRow
	if j.ID == "" {
		rows, err = j.server.walk(ctx, &j.ConnFilter)
	} else if k, ok := parseConnKey(j.ID); ok {
		rows, err = j.server.rows(ctx, &j.ConnFilter, []connKey{k})
	}
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(r connRow) bool { return r.ending })
	slices.SortFunc(rows, func(a, b connRow) int { return byAge(&a, &b) })
	j.targets = keysOf(rows)
	return nil
}

// run ends the targets. The job has been counted by kills.start.
func (j *killJob) run(ctx context.Context) KillReport {
	report := KillReport{Matched: len(j.targets)}
	j.slicing = make([]slicing, len(j.server.workers))
	pace := killPace{rate: j.Rate, due: 1, last: j.began}
	for len(j.targets) > 0 && report.Err == nil {
		if report.Err = j.awaitHandOver(ctx); report.Err != nil {
			break
		}
		var killed int
		killed, report.Err = j.endSome(ctx, pace.now(time.Now()))
		report.Killed += killed
		pause := pace.ended(killed)
		if len(j.targets) > 0 && report.Err == nil {
			report.Err = j.rest(ctx, pause)
		}
	}
	report.Spared = max(0, report.Matched-report.Killed-len(j.targets))
	report.Took = time.Since(j.began)
	if j.Done != nil {
		j.Done(report)
	}
	j.server.kills.end()
	return report
}

// rest waits until the next connection is due. A hand-over ends the wait.
func (j *killJob) rest(ctx context.Context, d time.Duration) (err error) {
	for ; d > 0 && err == nil; d -= restMost {
		if err = j.server.pause(ctx, min(d, restMost)); j.handedOver() {
			return ErrHandedOver // the server has stopped, too, if that came later
		}
	}
	return err
}

// awaitHandOver waits while connections are on their way to another process: if that fails, they
// come back.
func (j *killJob) awaitHandOver(ctx context.Context) error {
	for {
		running := j.server.phase.running.Load() // first: it ends after it is counted
		switch {
		case j.handedOver():
			return ErrHandedOver
		case !running:
			return nil
		}
		if err := j.server.pause(ctx, killEvery); err != nil {
			return err
		}
	}
}

// handedOver reports whether the targets that are left are in another process.
func (j *killJob) handedOver() bool { return j.server.phase.done.Load() != j.handOvers }

// endSome ends the next connections, up to most of them. Those that do not match any more do not
// count.
func (j *killJob) endSome(ctx context.Context, most int) (killed int, err error) {
	for killed < most && len(j.targets) > 0 {
		next := j.targets[:min(most-killed, len(j.targets))]
		byWorker := make([][]connKey, len(j.server.workers))
		for _, k := range next {
			byWorker[k.worker] = append(byWorker[k.worker], k)
		}
		for i, w := range j.server.workers {
			n, err := j.endOn(ctx, w, byWorker[i])
			killed += n
			if err != nil {
				return killed, err
			}
		}
		j.targets = j.targets[len(next):]
	}
	return killed, nil
}

// endOn ends connections of one worker. While there is no room for their records, or one is on its
// way to another process, it waits for a moment between two tries.
func (j *killJob) endOn(ctx context.Context, w *worker, keys []connKey) (killed int, err error) {
	m := newMatcher(&j.ConnFilter)
	slicing := &j.slicing[w.number]
	for len(keys) > 0 {
		looked := 0
		n := 0
		if err := j.server.on(ctx, w, func(w *worker) { looked, n = w.kill(m, slicing, keys) }); err != nil {
			return killed, err
		}
		killed += n
		if keys = keys[looked:]; len(keys) > 0 {
			slicing.waited++
			if err := j.server.pause(ctx, sliceEvery); err != nil {
				return killed, err
			}
		}
	}
	return killed, nil
}

// kill ends connections while there is room for their records. It returns how many keys it has
// looked at, and how many connections it has ended.
func (w *worker) kill(m *matcher, s *slicing, keys []connKey) (looked, killed int) {
	for _, k := range keys {
		c := w.withKey(k)
		if c != nil && (c.state == stateLeaving || c.state == stateMoving) {
			return looked, killed // it may come back
		}
		if c != nil && mayKill(c) && m.matches(c, w.loop.Now()) {
			if !s.room(w) {
				return looked, killed
			}
			outcome := Outcome{Side: SideProxy, Reason: ReasonKilled}
			if c.flags&flagResetOut != 0 && c.outcome.Reason != ReasonNone { // one end has failed
				outcome = c.outcome
			}
			w.cutOff(c, outcome)
			killed++
		}
		looked++
	}
	return looked, killed
}

// mayKill reports whether a connection is neither ending already nor moving to another process.
func mayKill(c *conn) bool {
	switch c.state {
	case stateHello, stateDialling, stateQueued, stateRetrying, stateRelaying:
		return true
	case stateNone, stateTurnedAway, stateLeaving, stateMoving, stateClosing, stateFlushing:
	}
	return false
}

// ending reports whether the outcome of a connection is known, so that no kill concerns it.
func (c *conn) ending() bool {
	return c.state == stateTurnedAway || c.state == stateClosing || c.state == stateFlushing
}
