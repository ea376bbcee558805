package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strings"
	"time"

	"l4proxy/control"
	"l4proxy/discovery"
	"l4proxy/listen"
	"l4proxy/proxy"
	"l4proxy/upgrade"
)

// The names under which live state moves to the next process (docs/handover.md).
const (
	statePools    = "pools"    // control.SavedPools
	stateCounts   = "counts"   // proxy.Totals, again at the end
	stateDrains   = "drains"   // []control.Drain
	stateStart    = "start"    // when the first process of this service started
	stateWeights  = "weights"  // []control.Weight
	stateReload   = "reload"   // control.SavedReloads
	stateUpgrades = "upgrades" // upgradeCounts
	stateDebug    = "debug"    // savedDebug
	stateBans     = "bans"     // savedBans; the bulk of this name, sent before, has the rest
	stateNames    = "names"    // []control.SavedName, sent before all others
	stateConfined = "confined" // confine.State, sent with names
)

// takeover is the start of a process that an upgrade has started: it takes over from an old one. A
// nil takeover is that of any other process.
type takeover struct {
	session *upgrade.Session
	sockets *upgrade.Sockets
	state   upgrade.State
	parent  *upgrade.Parent // process 1 in a container; nil for most
	unused  []upgrade.Socket
}

// joinUpgrade returns the takeover of this process, nil without one.
func joinUpgrade() (*takeover, error) {
	session, err := upgrade.Join(version)
	if err != nil || session == nil {
		return nil, err
	}
	return &takeover{session: session}, nil
}

// failed handles an error of the start. The old process logs it, so this one does not print it.
func (t *takeover) failed(err error) error {
	if t == nil {
		return failure{err}
	}
	t.session.Refuse(errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))) // a line of the log
	return errReported
}

// loadNames carries on with the addresses of host names, so that the start does not depend on a
// name server.
func (t *takeover) loadNames(names *discovery.Directory, log *slog.Logger) {
	if t == nil {
		return
	}
	var saved []control.SavedName
	t.state = t.session.Early()
	if t.read(stateNames, &saved, log) {
		control.ImportNames(names, saved)
	}
}

// prepare makes the server take over its listening sockets. Everything that is slow happens before:
// from then on, new clients wait in the kernel's queues.
func (t *takeover) prepare(o *proxy.Options) {
	if t == nil {
		return
	}
	o.Prepared = func() (err error) {
		if t.sockets, t.state, err = t.session.Take(); err == nil {
			t.parent, err = t.sockets.InheritParent()
		}
		return err
	}
	o.Inherited = func(listener string, bind listen.Bind) []int { return t.sockets.Listener(listener, bind) }
	o.KeepFile = func(_ string, bind listen.Bind) bool { return t.sockets.KeepFile(bind) }
}

// adminSocket is the admin socket of the old process, if it has the same address.
func (t *takeover) adminSocket(plan *control.AdminPlan) []int {
	if t == nil || plan == nil {
		return nil
	}
	return t.sockets.Named(upgrade.KindAdmin, plan.Bind.String())
}

// load carries on with the live state of the old process. A part that is missing or cannot be read
// starts empty.
func (t *takeover) load(p *process) {
	if t == nil {
		return
	}
	var pools control.SavedPools
	if t.read(statePools, &pools, p.log) {
		p.live.Import(pools)
	}
	var drains []control.Drain
	if t.read(stateDrains, &drains, p.log) {
		p.live.RestoreDrains(drains)
	}
	var weights []control.Weight
	if t.read(stateWeights, &weights, p.log) {
		p.live.RestoreWeights(weights)
	}
	p.live.CloseListeners(p.server)
	// What the old process counts from now on follows at the end; see receive.
	var counts proxy.Totals
	if t.read(stateCounts, &counts, p.log) {
		p.server.CarryOn(counts)
	}
	p.takeOverBans(t)
	var before upgradeCounts
	if t.read(stateUpgrades, &before, p.log) {
		p.upgrades.carryOn(before)
	}
	var debug savedDebug
	if t.read(stateDebug, &debug, p.log) {
		p.restoreDebug(debug)
	}
	var began time.Time
	if t.read(stateStart, &began, p.log) {
		p.began = began
	}
}

// loadReloads carries on with the history of the configuration.
func (t *takeover) loadReloads(p *process) {
	if t == nil {
		return
	}
	var saved control.SavedReloads
	if t.read(stateReload, &saved, p.log) {
		p.reloader.Import(saved)
	}
}

func (t *takeover) read(name string, into any, log *slog.Logger) bool {
	text, ok := t.state[name]
	if !ok {
		return false
	}
	if err := json.Unmarshal(text, into); err != nil {
		log.Warn("upgrade: state of the old process ignored", "state", name, "error", err.Error())
		return false
	}
	return true
}

// ready says that this process accepts clients. Sockets that the configuration does not name any
// more are closed: the old process has them until it ends.
func (t *takeover) ready(p *process) error {
	if t == nil {
		return nil
	}
	t.unused = t.sockets.Close()
	if err := t.session.Ready(); err != nil {
		return err
	}
	for _, s := range t.unused {
		p.log.Warn("upgrade: socket of the old process not used", "kind", s.Kind, "name", s.Name, "address", s.Bind)
		if s.Kind == upgrade.KindListener && !s.KeepFile {
			p.systemd.outdated(s.Name)
		}
	}
	return nil
}

// unlink removes the files of unix sockets that are not used any more. The old process leaves them
// to this one. Until it has handed over, it may have to serve on, and needs them.
func (t *takeover) unlink(p *process) {
	own := map[string]bool{p.admin.address(): true}
	for _, a := range p.server.Addrs() {
		own[a.Bind.String()] = true
	}
	for _, s := range t.unused {
		path, ok := strings.CutPrefix(s.Bind, "unix:")
		if !ok || s.KeepFile || own[s.Bind] || strings.HasPrefix(path, "@") { // no file
			continue
		}
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
			_ = os.Remove(path)
		}
	}
}

// receive takes over the connections of the old process.
func (t *takeover) receive(p *process) {
	if t == nil {
		return
	}
	n, final, err := t.session.Receive(receiver{p})
	if err != nil {
		p.log.Warn("upgraded, but the old process has not handed over everything", "from_pid", t.session.OldPID(), "connections", n, "error", err.Error())
	} else {
		p.log.Info("upgraded", "from_pid", t.session.OldPID(), "from_version", t.session.OldVersion(), "connections", n)
	}
	t.findParent(p)
	t.state = final
	var counts proxy.Totals
	if t.read(stateCounts, &counts, p.log) {
		p.server.CarryOn(counts)
	}
	p.live.EndOrphans(p.server.Orphans(), p.cfg.Drain.Timeout, p.server)
	t.unlink(p)
	p.receiving(false)
	// Last: from now on, signals come here.
	if err := p.pidFile.write(); err != nil {
		p.log.Error("pid file not written", "error", err.Error())
	}
}

// receiving refuses reloads and upgrades while this process takes over, and allows them after it.
func (p *process) receiving(on bool) {
	p.upgrades.block(on)
	if on {
		_ = p.reloader.Block(context.Background(), errUpgrading.Error()) // no reload can be under way
	} else {
		p.reloader.Unblock()
	}
}

// receiver is this process as the one that takes over.
type receiver struct{ p *process }

// Check leaves connections to the old process that this one cannot serve, and all of them when this
// one is shutting down.
func (r receiver) Check(m *proxy.Moved) error {
	if r.p.upgrades.stopping() {
		return errors.New("the new process is shutting down")
	}
	return m.Check()
}

func (r receiver) Adopt(moved []proxy.Moved) { r.p.server.Adopt(moved) }
