package health

import (
	"context"
	"time"

	"l4proxy/backend"
	"l4proxy/internal/rawsys"
)

// group is the runner's view of a Group.
type group struct {
	Options
	checker Checker
	checks  *Checks
	id      int32                      // in the lanes
	slots   map[*backend.Backend]int32 // its targets, in runner.targets
	removed bool
	// ctx is for the checks on goroutines. busy is the number of those that are under way.
	ctx    context.Context
	cancel context.CancelFunc
	busy   int
}

// target is the runner's view of a Target. Its slot in runner.targets is free while it has no
// group.
type target struct {
	Target
	group    *group
	addr     *rawsys.Sockaddr // for the prober; nil: the check has a goroutine
	probe    int32            // of the check under way; -1: none, or not one of the prober's
	busy     bool             // a check on a goroutine is under way
	removed  bool             // the slot becomes free when that has ended
	stood    int64            // runner.stood when the check under way began
	repeats  int              // failures in a row that did not count; see runner.conclude
	result   *Result          // with the lock of group.checks
	status   Status
	schedule Schedule
}

// addrOf is the address for the prober; nil if it cannot check t.
func (g *Group) addrOf(t Target) *rawsys.Sockaddr {
	if _, byProber := g.Checker.(tcp); byProber {
		return sockaddrOf(t.Addr)
	}
	return nil
}

// add takes in a group.
func (r *runner) add(g Group, c *Checks) *group {
	own := &group{Options: g.withDefaults(), checker: g.Checker, checks: c, slots: make(map[*backend.Backend]int32, len(g.Targets))}
	if n := len(r.freeIDs); n > 0 {
		own.id, r.freeIDs = r.freeIDs[n-1], r.freeIDs[:n-1]
	} else {
		own.id = r.groups
		r.groups++
	}
	r.addTargets(own, &g, g.Targets)
	return own
}

// addTargets puts targets on the agenda.
func (r *runner) addTargets(own *group, g *Group, targets []Target) {
	own.checks.mu.Lock()
	defer own.checks.mu.Unlock()
	for i, t := range targets {
		slot := int32(len(r.targets))
		if n := len(r.freeSlots); n > 0 {
			slot, r.freeSlots = r.freeSlots[n-1], r.freeSlots[:n-1]
		} else {
			r.targets = append(r.targets, target{})
		}
		r.targets[slot] = target{
			Target: t, group: own, addr: g.addrOf(t), probe: -1,
			result: &Result{Health: t.Health, Since: time.Now()},
			status: Status{Health: t.Health}, schedule: NewSchedule(own.Options, r.now, i, len(targets)),
		}
		own.slots[t.Backend] = slot
		own.checks.results[t.Backend] = r.targets[slot].result
		r.plan(slot, r.targets[slot].schedule.Due)
	}
}

// update changes a group. A target whose address or way of checking changes is a new one with the
// same health.
func (r *runner) update(own *group, g Group) {
	sooner := g.withDefaults().Interval < own.Interval
	own.Options, own.checker = g.withDefaults(), g.Checker
	stays := make(map[*backend.Backend]bool, len(g.Targets))
	var added []Target
	for _, next := range g.Targets {
		if slot, known := own.slots[next.Backend]; known {
			t := &r.targets[slot]
			next.Health = t.status.Health
			if (t.addr == nil) == (g.addrOf(next) == nil) && t.Addr.String() == next.Addr.String() {
				t.Target = next
				stays[next.Backend] = true
				if sooner {
					r.hasten(slot)
				}
				continue
			}
		}
		added = append(added, next)
	}
	for b, slot := range own.slots {
		if !stays[b] {
			r.removeTarget(slot)
		}
	}
	r.addTargets(own, &g, added)
}

// hasten moves the next check of a target into its interval, which has become shorter.
func (r *runner) hasten(slot int32) {
	t := &r.targets[slot]
	t.schedule.Hasten(t.group.Options, r.now)
	if t.probe < 0 && r.agenda.Has(int(slot)) { // else the check has begun, or waits in a lane
		r.plan(slot, t.schedule.Due)
	}
}

// remove takes a group out.
func (r *runner) remove(own *group) {
	for _, slot := range own.slots {
		r.removeTarget(slot)
	}
	own.removed = true
	if own.cancel != nil {
		own.cancel()
	}
	r.endGroup(own)
}

// removeTarget takes a target out. A check on a goroutine keeps its slot until it has ended.
func (r *runner) removeTarget(slot int32) {
	t := &r.targets[slot]
	delete(t.group.slots, t.Backend)
	t.group.checks.mu.Lock()
	delete(t.group.checks.results, t.Backend)
	t.group.checks.mu.Unlock()
	r.agenda.Remove(int(slot))
	switch {
	case t.busy:
		t.removed = true
		return
	case t.probe >= 0:
		r.prober.cancel(t.probe)
		r.tcp.leave()
	case t.addr != nil:
		r.tcp.drop(t.group.id, slot)
	default:
		r.other.drop(t.group.id, slot)
	}
	r.freeSlot(slot)
}

func (r *runner) freeSlot(slot int32) {
	r.targets[slot] = target{probe: -1}
	r.freeSlots = append(r.freeSlots, slot)
}

// endGroup ends a removed group, unless a check of it is under way.
func (r *runner) endGroup(own *group) {
	if own.removed && own.busy == 0 {
		r.freeIDs = append(r.freeIDs, own.id)
		close(own.checks.gone)
	}
}
