package health

import "time"

// verdict is how a check on a goroutine has ended.
type verdict struct {
	target int32
	err    error
}

// checked handles the end of a check on a goroutine.
func (r *runner) checked(v verdict) {
	t := &r.targets[v.target]
	g := t.group
	t.busy = false
	g.busy--
	if !t.removed {
		r.conclude(v.target, v.err)
		return
	}
	r.other.leave()
	r.freeSlot(v.target)
	r.endGroup(g)
}

// conclude handles the end of a check.
func (r *runner) conclude(target int32, err error) {
	t := &r.targets[target]
	if t.addr != nil {
		r.tcp.leave()
	} else {
		r.other.leave()
	}
	r.m.checks.Add(1)
	doubt := true
	switch {
	case err != nil && isLocal(err):
		r.trouble(err)
	case err != nil && t.repeats < maxRepeats && r.stoodStill(t):
		// The answer may have waited, here or in the network. The failure does not count, and the
		// check is repeated at once.
		t.repeats++
		t.schedule.Due = r.now
		r.plan(target, r.now)
		return
	default:
		t.repeats = 0
		r.observe(target, err)
		doubt = t.status.InDoubt()
	}
	t.schedule.Next(t.group.Options, r.now, doubt)
	r.plan(target, t.schedule.Due)
}

// stoodStill reports whether this process stood still for a quarter of the timeout or longer during
// the check of t.
func (r *runner) stoodStill(t *target) bool {
	return r.stood-t.stood >= int64(t.group.Timeout/4)
}

// observe records the result of a check.
func (r *runner) observe(target int32, err error) {
	t := &r.targets[target]
	before := t.status.Health
	checks := t.status.Observe(err == nil, t.group.Rise, t.group.Fall)

	c := t.group.checks
	c.mu.Lock()
	t.result.At, t.result.Err = time.Now(), err
	if checks > 0 {
		t.result.Health, t.result.Since = t.status.Health, t.result.At
	}
	c.mu.Unlock()

	if checks > 0 {
		c.Changes.Post(Change{t.Backend, before, t.status.Health, err, checks})
	}
}

// trouble reports an error of this machine, once.
func (r *runner) trouble(err error) {
	r.lastTrouble = r.now
	if !r.inTrouble {
		r.inTrouble = true
		r.reportTrouble(err)
	}
}

func (r *runner) endTrouble() {
	if r.inTrouble && r.now-r.lastTrouble > int64(calm) {
		r.inTrouble = false
		r.reportTrouble(nil)
	}
}

func (r *runner) reportTrouble(err error) {
	if r.m.Trouble != nil {
		r.m.Trouble(err)
	}
}
