package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/control"
	"l4proxy/proxy"
	"l4proxy/upgrade"
)

// pausePatience is how long the loops may take to stop accepting. They need a few milliseconds, but
// on a machine with far too much to do, a loop may not get a CPU for seconds.
const pausePatience = 5 * time.Second

// thisProgram is how this process was started, so that an upgrade can start the next one the same
// way. It is found out at the start: a package manager replaces the file later, and then
// /proc/self/exe names the old one, "(deleted)". A symbolic link is not followed, because it may
// lead to another version next time.
func thisProgram() upgrade.Program {
	binary, err := exec.LookPath(os.Args[0])
	if err == nil {
		binary, err = filepath.Abs(binary)
	}
	if err != nil { // the name says nothing about the file, as after exec -a
		if binary, err = os.Executable(); err != nil {
			return upgrade.Program{}
		}
	}
	dir, _ := os.Getwd() // without one, the new process gets that of this one
	return upgrade.Program{Binary: binary, Args: os.Args[1:], Dir: dir}
}

// Upgrade hands this process over to a new one: binary, or the file that this process was started
// from if that is "". After success, the process ends as soon as the connections that could not
// move have ended. After an error, it keeps serving; the error is in the log too.
func (p *process) Upgrade(ctx context.Context, binary string) (upgrade.Result, error) {
	ctx, err := p.upgrades.begin(ctx)
	if err != nil {
		p.log.Warn("upgrade refused", "reason", err.Error())
		return upgrade.Result{}, fmt.Errorf("no upgrade now: %w", err)
	}
	result, err := p.upgrade(ctx, binary)
	if err != nil {
		p.log.Error("upgrade failed: this process keeps serving", "error", err.Error())
	}
	p.upgrades.end(result, err)
	if err == nil {
		p.log.Info("upgraded: the new process serves", "pid", result.PID, "version", result.Version,
			"connections_moved", result.Moved, "connections_left", result.Left,
			seconds("duration", time.Duration(result.Duration)), seconds("accept_pause", time.Duration(result.Pause)),
			seconds("longest_batch", time.Duration(result.LongestBatch)))
		close(p.handedOver)
	}
	return result, err
}

func (p *process) upgrade(ctx context.Context, binary string) (result upgrade.Result, err error) {
	program := p.upgrades.program
	program.Env = append(os.Environ(), p.systemd.manager.Environ()...)
	if binary != "" {
		if program.Binary, err = filepath.Abs(binary); err != nil {
			return result, err
		}
	}
	if p.reloader != nil {
		if err := p.reloader.Block(ctx, errUpgrading.Error()); err != nil {
			if refused := new(control.Refused); errors.As(err, &refused) {
				err = errors.New(refused.Reason)
			}
			return result, err
		}
		defer func() {
			if err != nil {
				p.reloader.Unblock()
			}
		}()
	}
	p.log.Info("upgrade: starting the new process", "binary", program.Binary, "connections", p.server.Connections())
	from := &handing{p: p, admin: -1}
	defer from.close()
	result, err = upgrade.Run(ctx, upgrade.Options{Program: program, Version: version, Needs: openFiles(),
		Early: stateOfService(map[string]any{stateNames: p.live.ExportNames(), stateConfined: p.restrictions()}), Bulk: upgrade.Bulk{stateBans: p.bans.Snapshot()}, Log: p.log}, from)
	if err != nil {
		p.bans.Thaw()
		return result, err
	}
	p.server.ReleaseListening()
	p.admin.release()
	p.tellParent(result.PID)
	if p.systemd.manager.Notifies() {
		p.systemd.check(p.systemd.manager.MainPID(result.PID))
	}
	return result, nil
}

// openFiles is the number of descriptors that this process has open, about as many as the new one
// will have; 0 if it is unknown.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// handing is this process as the one that hands over.
type handing struct {
	p       *process
	sockets []proxy.ListeningSocket
	admin   int // a duplicate of the admin socket; -1 without one
}

func (h *handing) Pause() (all []upgrade.Socket, state upgrade.State, err error) {
	h.p.upgrades.freeze(true)
	ctx, cancel := context.WithTimeout(context.Background(), pausePatience)
	defer cancel()
	if err := h.p.server.PauseAccepting(ctx); err != nil {
		return nil, nil, err
	}
	changes, err := h.p.bans.Freeze()
	if err != nil {
		return nil, nil, err
	}
	if h.sockets, err = h.p.server.ListeningSockets(); err != nil {
		return nil, nil, err
	}
	for _, s := range h.sockets {
		for _, fd := range s.FDs {
			all = append(all, upgrade.Socket{Kind: upgrade.KindListener, Name: s.Listener, Bind: s.Addr.String(), FD: fd, KeepFile: s.KeepFile})
		}
	}
	var name string
	if h.admin, name, err = h.p.admin.handOver(); err != nil {
		return nil, nil, err
	}
	if h.admin >= 0 {
		all = append(all, upgrade.Socket{Kind: upgrade.KindAdmin, Name: name, Bind: name, FD: h.admin})
	}
	all = append(all, h.p.parentSocket()...)
	state = stateOfService(map[string]any{statePools: h.p.live.Export(), stateDrains: h.p.live.Drains(), stateWeights: h.p.live.Weights(),
		stateStart: h.p.began, stateCounts: h.p.server.Totals(), stateUpgrades: h.p.upgrades.counted().next(),
		stateDebug: h.p.saveDebug(), stateBans: savedBans{Changes: string(changes)}})
	if h.p.reloader != nil {
		maps.Copy(state, stateOfService(map[string]any{stateReload: h.p.reloader.Export()}))
	}
	return all, state, nil
}

// Resume accepts clients again. The new process may have written the pid file.
func (h *handing) Resume() {
	h.p.server.ResumeAccepting()
	h.p.upgrades.freeze(false)
	if err := h.p.pidFile.write(); err != nil {
		h.p.log.Error("pid file not written", "error", err.Error())
	}
}

func (h *handing) Move(deliver upgrade.Deliver) (left int, err error) {
	report, err := h.p.server.HandOver(context.Background(), func(batch []proxy.Moved) error {
		left, err := deliver(batch)
		if err == nil && len(left) > 0 {
			err = &proxy.LeftError{Indexes: left}
		}
		return err
	})
	return report.Left, err
}

func (h *handing) Final() upgrade.State {
	return stateOfService(map[string]any{stateCounts: h.p.server.Totals()})
}

// close closes the duplicates of the sockets.
func (h *handing) close() {
	proxy.CloseSockets(h.sockets)
	if h.admin >= 0 {
		_ = unix.Close(h.admin)
	}
}

// stateOfService is the JSON of values by name.
func stateOfService(values map[string]any) upgrade.State {
	state := make(upgrade.State, len(values))
	for name, v := range values {
		if text, err := json.Marshal(v); err == nil { // plain values do not fail
			state[name] = text
		}
	}
	return state
}

// leave ends this process after an upgrade: it waits for the connections that could not move, at
// most for drain.timeout. SIGTERM or SIGINT ends the waiting, and at once if it came already.
func (p *process) leave(ctx context.Context, signals <-chan os.Signal, now bool) {
	began := time.Now()
	result, _ := p.upgrades.succeeded()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if now {
		cancel()
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				if os.Getpid() == 1 { // of a container, whose processes get their signals through it
					_ = unix.Kill(result.PID, s.(unix.Signal))
				}
				if s == unix.SIGTERM || s == unix.SIGINT {
					cancel()
					return
				}
			}
		}
	}()
	cfg := p.stopReloading()
	open := p.server.Connections()
	left := p.server.Drain(ctx, cfg.Drain.Timeout)
	p.log.Info("stopped after the upgrade", "ended", max(0, open-left), "closed", left, seconds("duration", time.Since(began)))
}

// stopUpgrading ends an upgrade that is under way, because the process has to stop; s is nil if no
// signal asked for that. If the new process serves already, a signal was meant for the service, and
// so for that process.
func (p *process) stopUpgrading(s os.Signal) (handedOver bool) {
	if s == nil {
		_, handedOver = p.upgrades.stop(errShuttingDown)
		return handedOver
	}
	if _, before := p.upgrades.succeeded(); before && os.Getpid() != 1 {
		return true // it came to a process that was about to end
	}
	name := unix.SignalName(s.(unix.Signal))
	result, handedOver := p.upgrades.stop(fmt.Errorf("%s: %w", name, errShuttingDown))
	if handedOver {
		p.log.Info("signal passed on to the new process", "signal", name, "pid", result.PID)
		if err := unix.Kill(result.PID, s.(unix.Signal)); err != nil {
			p.log.Error("signal not passed on", "pid", result.PID, "error", err.Error())
		}
	}
	return handedOver
}
