package main

import (
	"context"
	"errors"
	"time"

	"l4proxy/admin"
	"l4proxy/backend"
	"l4proxy/config"
	"l4proxy/control"
)

// commands are what the admin address can do to the process.
func (p *process) commands() admin.Commands {
	return admin.Commands{
		Reload:     p.adminReload,
		Keep:       func(context.Context) error { return p.reloaded((*control.Reloader).Keep) },
		Rollback:   func(context.Context) error { return p.reloaded((*control.Reloader).Rollback) },
		Drain:      p.adminDrain,
		SetBackend: p.adminSetBackend,
		Kill:       p.adminKill,
		Ban:        p.adminBan,
		Unban:      p.adminUnban,
		Debug:      p.adminSetDebug,
		Upgrade:    p.adminUpgrade,
	}
}

func (p *process) adminReload(ctx context.Context, q admin.ReloadRequest) (*admin.Reload, error) {
	if p.reloader == nil {
		return nil, admin.Unavailable("reload its configuration")
	}
	request := control.Request{DryRun: q.DryRun, Confirm: time.Duration(q.Confirm), Source: "admin"}
	if q.Guard != nil {
		request.Guard = new(control.ReloadGuard(*q.Guard))
	}
	result, err := p.reloader.Reload(ctx, request)
	if err != nil {
		return nil, reloadError(err)
	}
	return &admin.Reload{
		DryRun: result.DryRun, Generation: result.Generation, Changes: shownChanges(result.Changes), Warnings: result.Warnings,
		Seconds: result.Seconds, Unconfirmed: unconfirmed(result.Unconfirmed),
	}, nil
}

// reloadError is the answer to a reload that failed.
func reloadError(err error) error {
	if refused := new(control.Refused); errors.As(err, &refused) {
		return admin.Conflict(err.Error(), "")
	}
	return admin.Refused(err.Error(), "")
}

// reloaded ends the trial of a reload.
func (p *process) reloaded(end func(*control.Reloader) error) error {
	if p.reloader == nil {
		return admin.Unavailable("reload its configuration")
	}
	if err := end(p.reloader); err != nil {
		return admin.Conflict(err.Error(), "")
	}
	return nil
}

func unconfirmed(u *control.Unconfirmed) *admin.Unconfirmed {
	if u == nil {
		return nil
	}
	shown := &admin.Unconfirmed{Until: u.Until.UTC(), KeepAfter: u.KeepAfter, RollsBackTo: u.RollsBackTo}
	if u.Guard != nil {
		shown.Guard = new(admin.Guard(*u.Guard))
	}
	return shown
}

// configStatus is about the configuration in effect.
func (p *process) configStatus() admin.ConfigStatus {
	if p.reloader == nil {
		return admin.ConfigStatus{File: p.cfg.File, Generation: 1, AppliedAt: p.began.UTC(), LastOK: true}
	}
	s := p.reloader.Status()
	shown := admin.ConfigStatus{
		File: s.Config, Generation: s.Generation, AppliedAt: s.AppliedAt.UTC(), LastOK: s.LastOK, LastSuccess: s.LastSuccess,
		Reloading: s.Reloading, Blocked: s.Blocked, Unconfirmed: unconfirmed(s.Unconfirmed), Watching: s.Watching,
	}
	if s.LastFailure != nil {
		shown.LastFailure = new(admin.Failure(*s.LastFailure))
	}
	if s.LastRollback != nil {
		shown.LastRollback = new(admin.RollbackDone(*s.LastRollback))
	}
	return shown
}

// currentConfig is the configuration in effect.
func (p *process) currentConfig() *config.Config {
	if p.reloader == nil {
		return p.cfg
	}
	return p.reloader.Config()
}

// adminDrain changes what is drained, unless an upgrade is just handing that over: the change would
// be lost.
func (p *process) adminDrain(_ context.Context, q admin.DrainRequest) (drain *admin.Drain, err error) {
	return p.change(func() (*admin.Drain, error) { return p.startDrain(q) })
}

func (p *process) change(make func() (*admin.Drain, error)) (drain *admin.Drain, err error) {
	err = p.upgrades.change(func() error {
		drain, err = make()
		return err
	})
	if errors.Is(err, errUpgrading) || errors.Is(err, errHandedOver) {
		return nil, admin.Conflict(err.Error(), "try again in a second")
	}
	return drain, err
}

func (p *process) startDrain(q admin.DrainRequest) (*admin.Drain, error) {
	switch {
	case q.Backend != "":
		state := admin.BackendDrain
		if q.Undo {
			state = admin.BackendUp
		}
		return p.setBackend(q.Pool, q.Backend, state, q.Timeout)
	case q.Listener == "":
		if err := p.drainer.request(drainRequest{timeout: (*time.Duration)(q.Timeout)}); err != nil {
			return nil, admin.Conflict(err.Error(), "")
		}
		return p.processDrain(), nil
	case q.Undo:
		if err := p.live.UndrainListener(q.Listener); err != nil {
			return nil, drainError(err)
		}
		return p.listenerUp(q.Listener), nil
	}
	drain, err := p.live.DrainListener(q.Listener, p.drainOptions(q.Timeout))
	if err != nil {
		return nil, drainError(err)
	}
	return shownDrain(drain), nil
}

// listenerUp is the state of a listener that was undrained just now.
func (p *process) listenerUp(name string) *admin.Drain {
	answer := &admin.Drain{Listener: name, State: admin.DrainUp, Since: time.Now().UTC(), Survives: survivesUpgrade}
	for _, l := range p.live.Listeners() {
		if l.Name == name {
			answer.Connections = l.Slots.Used()
		}
	}
	return answer
}

func (p *process) adminSetBackend(_ context.Context, pool, address string, change admin.BackendChange) (*admin.Drain, error) {
	return p.change(func() (*admin.Drain, error) {
		if change.Weight == nil {
			return p.setBackend(pool, address, change.State, change.Timeout)
		}
		w, err := p.live.SetWeight(pool, address, int(*change.Weight))
		if err != nil {
			return nil, drainError(err)
		}
		if change.State != "" {
			return p.setBackend(w.Pool, address, change.State, change.Timeout)
		}
		return p.backendAnswer(w.Pool, address), nil
	})
}

// backendAnswer is the state of a backend that was not drained or undrained just now.
func (p *process) backendAnswer(pool, address string) *admin.Drain {
	answer := &admin.Drain{Pool: pool, Backend: address, State: admin.DrainUp, Since: time.Now().UTC(), Survives: survivesUpgrade}
	for _, d := range p.live.Drains() {
		if d.Pool == pool && d.Backend == address {
			answer = shownDrain(d)
		}
	}
	return p.withWeight(answer)
}

// withWeight adds the weights of the backend of a drain.
func (p *process) withWeight(d *admin.Drain) *admin.Drain {
	open := int64(0)
	for _, pool := range p.live.Pools() {
		if pool.Name != d.Pool {
			continue
		}
		for i := range pool.Backends {
			b := &pool.Backends[i]
			if d.Backend != b.Key.Address && d.Backend != b.Address {
				continue
			}
			d.Weight, d.ConfiguredWeight = b.Weight, b.ConfiguredWeight
			open += b.Active()
		}
	}
	if d.State == admin.DrainUp {
		d.Connections = open
	}
	return d
}

// survivesUpgrade is what drains and weights outlive.
var survivesUpgrade = []string{"reload", "upgrade"}

func (p *process) setBackend(pool, address, state string, timeout *admin.Duration) (*admin.Drain, error) {
	to, ok := backend.ParseAdmin(state)
	if !ok {
		return nil, admin.Invalid("unknown state "+state, "write up, drain or down")
	}
	drain, err := p.live.SetBackend(pool, address, to, p.drainOptions(timeout))
	if err != nil {
		return nil, drainError(err)
	}
	return p.withWeight(shownDrain(drain)), nil
}

// drainOptions say what happens to the connections of what is drained. Without a timeout, they are
// left alone.
func (p *process) drainOptions(timeout *admin.Duration) control.DrainOptions {
	if timeout == nil {
		return control.DrainOptions{}
	}
	// In a request, 0 means at once; in DrainOptions, it means never.
	return control.DrainOptions{Timeout: max(time.Duration(*timeout), time.Millisecond), Spread: p.currentConfig().Drain.Spread}
}

func drainError(err error) error {
	if errors.Is(err, control.ErrUnknown) {
		return admin.NotFound(err.Error(), "l4proxy status lists the listeners, pools and backends")
	}
	return admin.Conflict(err.Error(), "")
}

func shownDrain(d control.Drain) *admin.Drain {
	return &admin.Drain{
		Listener: d.Listener, Pool: d.Pool, Backend: d.Backend, State: d.State, Since: d.Since.UTC(), Deadline: d.Deadline,
		Connections: d.Connections, Before: d.Before, Closed: d.Closed, Survives: survivesUpgrade,
	}
}

// drainStatus is everything that is drained, the process first.
func (p *process) drainStatus() (all []admin.Drain) {
	if !p.drainer.ready() {
		all = append(all, *p.processDrain())
	}
	for _, d := range p.live.Drains() {
		all = append(all, *shownDrain(d))
	}
	return all
}

// processDrain is the drain of the whole process.
func (p *process) processDrain() *admin.Drain {
	s, _ := p.drainer.status()
	d := &admin.Drain{
		Survives: []string{}, State: admin.DrainWaiting, Since: s.Since.UTC(), Deadline: s.Deadline, Connections: int64(p.server.Connections()), Before: int64(s.Before),
	}
	if s.State != stateWaiting {
		d.State = admin.DrainRunning
	} else {
		d.Before = d.Connections
	}
	if s.Left != nil {
		d.Closed = uint64(s.Left.Connections)
	}
	return d
}

func (p *process) adminUpgrade(ctx context.Context, q admin.UpgradeRequest) (*admin.Upgrade, error) {
	result, err := p.Upgrade(ctx, q.Binary)
	switch {
	case errors.Is(err, errNoProgram):
		return nil, admin.Unavailable("upgrade itself")
	case errors.Is(err, errUpgrading), errors.Is(err, errShuttingDown), errors.Is(err, errHandedOver):
		return nil, admin.Conflict(err.Error(), "")
	case err != nil:
		return nil, admin.Refused(err.Error(), "the old process keeps serving")
	}
	return &admin.Upgrade{
		PID: result.PID, Version: result.Version, Binary: result.Binary, Moved: result.Moved, Left: result.Left,
		Seconds: time.Duration(result.Duration).Seconds(), AcceptPause: time.Duration(result.Pause).Seconds(),
		LongestBatch: time.Duration(result.LongestBatch).Seconds(),
	}, nil
}
