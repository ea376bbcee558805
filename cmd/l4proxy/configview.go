package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"l4proxy/admin"
	"l4proxy/control"
)

const (
	// pendingKept is how long the comparison with the file counts: reading a large configuration
	// takes time, and clients may ask often.
	pendingKept = 2 * time.Second
	// pendingLimit bounds the comparison, which may ask name servers.
	pendingLimit = 8 * time.Second
)

// pendingChanges is the last comparison of the running configuration with the file. The zero value
// is older than any.
type pendingChanges struct {
	mu         sync.Mutex
	at         time.Time
	generation uint64 // that was compared
	changes    []admin.Change
	err        string
}

// runningConfig is the configuration in effect, and how it differs from the file and from what
// commands have changed.
func (p *process) runningConfig(ctx context.Context) (*admin.RunningConfig, error) {
	status := p.configStatus()
	text, err := p.currentConfig().JSON()
	if err != nil {
		return nil, err
	}
	answer := &admin.RunningConfig{
		File: status.File, Generation: status.Generation, Config: text, Pending: []admin.Change{}, Runtime: p.runtimeChanges(ctx),
	}
	if p.reloader != nil {
		changes, failed := p.pending.compare(ctx, p.reloader, status.Generation)
		answer.Pending, answer.PendingError = append(answer.Pending, changes...), failed
	}
	return answer, nil
}

// compare says what a reload would change. One comparison runs at a time, and counts for a while.
func (c *pendingChanges) compare(ctx context.Context, r *control.Reloader, generation uint64) (changes []admin.Change, failed string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation == generation && time.Since(c.at) < pendingKept {
		return c.changes, c.err
	}
	limit := fmt.Errorf("the comparison with the file took longer than %s", pendingLimit)
	ctx, cancel := context.WithTimeoutCause(ctx, pendingLimit, limit)
	defer cancel()
	result, err := r.Reload(ctx, control.Request{DryRun: true, Quiet: true, Source: "admin"})
	c.at, c.generation, c.changes, c.err = time.Now(), generation, nil, ""
	if err != nil {
		c.err = err.Error()
		return nil, c.err
	}
	c.changes = shownChanges(result.Changes)
	return c.changes, ""
}

// shownChanges are the changes of a reload for the admin address.
func shownChanges(changes []control.Change) []admin.Change {
	shown := make([]admin.Change, 0, len(changes))
	for _, c := range changes {
		shown = append(shown, admin.Change{
			Text: c.String(), Part: c.Part, Name: c.Name, Item: c.Item, Action: c.Action, Key: c.Key, Old: c.Old, New: c.New,
			Connections: c.Connections, Effect: c.Effect, AtStart: c.AtStart,
		})
	}
	return shown
}

// runtimeChanges is what commands have changed, and no file says: drains, weights, the log level
// and traces.
func (p *process) runtimeChanges(ctx context.Context) []admin.RuntimeChange {
	all := []admin.RuntimeChange{}
	now := time.Now()
	for _, d := range p.drainStatus() {
		all = append(all, admin.RuntimeChange{
			Text: describeDrain(&d, now), Kind: "drain", Listener: d.Listener, Pool: d.Pool, Backend: d.Backend,
			Configured: admin.DrainUp, Now: d.State, Since: d.Since, Until: d.Deadline, Survives: d.Survives,
		})
	}
	for _, w := range p.live.Weights() {
		all = append(all, admin.RuntimeChange{
			Text: describeWeight(w.Pool, w.Backend, w.Weight, w.Configured), Kind: "weight", Pool: w.Pool, Backend: w.Backend,
			Configured: strconv.Itoa(w.Configured), Now: strconv.Itoa(w.Weight), Since: w.Since.UTC(), Survives: slices.Clone(survivesUpgrade),
		})
	}
	return append(all, p.debugChanges(ctx)...)
}

// debugChanges are the log level and the traces that an operator has set.
func (p *process) debugChanges(ctx context.Context) (all []admin.RuntimeChange) {
	debug, err := p.adminDebug(ctx)
	if err != nil {
		return nil
	}
	if debug.LevelSet {
		all = append(all, admin.RuntimeChange{
			Text: fmt.Sprintf("the log level is %s (configured: %s)", debug.Level, debug.Configured), Kind: "log_level",
			Configured: debug.Configured, Now: debug.Level, Until: debug.LevelUntil, Survives: slices.Clone(survivesUpgrade),
		})
	}
	for _, t := range debug.Traces {
		text := "connections are traced"
		if t.Listener != "" {
			text += ", of the listener " + t.Listener
		}
		if t.From.IsValid() {
			text += ", of clients in " + t.From.String()
		}
		all = append(all, admin.RuntimeChange{
			Text: text, Kind: "trace", Listener: t.Listener, Now: "on", Since: t.Since, Until: &t.Until, Survives: slices.Clone(survivesUpgrade),
		})
	}
	return all
}

// describeWeight says which weight a backend has.
func describeWeight(pool, backend string, weight, configured int) string {
	if weight == configured {
		return fmt.Sprintf("backend %s of pool %s has its configured weight, %d", backend, pool, weight)
	}
	return fmt.Sprintf("backend %s of pool %s has weight %d (configured: %d)", backend, pool, weight, configured)
}
