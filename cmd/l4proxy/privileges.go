package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"l4proxy/config"
	"l4proxy/confine"
	"l4proxy/control"
)

// needsOf are the capabilities that a configuration needs while the proxy runs: at a reload, on a
// new connection, after an upgrade. Each is kept when the user changes, and checked at each start
// and reload.
func needsOf(cfg *config.Config) []confine.Need {
	// Any reload may add a port below 1024. Having to restart for that would end all connections.
	needs := []confine.Need{{Capability: unix.CAP_NET_BIND_SERVICE}}
	for _, feature := range control.NetAdmin(cfg) {
		needs = append(needs, confine.Need{Capability: unix.CAP_NET_ADMIN, Feature: feature})
	}
	if drops(cfg) {
		needs = append(needs, confine.Need{Capability: unix.CAP_NET_ADMIN}) // see rawsys.Forget
	}
	if bindsInterface(cfg) { // to set it again on a socket that was taken over
		needs = append(needs, confine.Need{Capability: unix.CAP_NET_RAW})
	}
	return needs
}

// drops reports whether a configuration denies clients by dropping them.
func drops(cfg *config.Config) bool {
	if cfg.Bans.With == config.DenyDrop {
		return true
	}
	return slices.ContainsFunc(cfg.Listeners, func(l config.Listener) bool {
		return l.PerClient != nil && l.PerClient.With == config.DenyDrop ||
			l.ACL != nil && slices.ContainsFunc(l.ACL.Rules, func(r config.Rule) bool { return r.With == config.DenyDrop })
	})
}

func bindsInterface(cfg *config.Config) bool {
	return slices.ContainsFunc(cfg.Listeners, func(l config.Listener) bool {
		return slices.ContainsFunc(l.Binds, func(b config.Bind) bool { return b.Interface != "" })
	})
}

// writableOf are the directories in which the process creates and removes files while it runs.
func writableOf(cfg *config.Config, plan *control.Plan, pid pidFile) (dirs []string) {
	add := func(path string) {
		if path != "" && path[0] != '@' {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	add(string(pid))
	add(cfg.Bans.File)
	for i := range plan.Listeners {
		for _, b := range plan.Listeners[i].Binds {
			add(b.Path)
		}
	}
	if plan.Admin != nil {
		add(plan.Admin.Bind.Path)
	}
	return dirs
}

// privileges is what a start needs to know to give them up. A nil one keeps them.
type privileges struct {
	files []config.File
	pid   pidFile
	from  *takeover
}

func userOf(plan *control.Plan) *confine.User {
	id := plan.Identity
	if id == nil {
		return nil
	}
	return &confine.User{Name: id.Name, UID: id.UID, GID: id.GID, Groups: id.Groups}
}

// check reports before anything is open what would fail later.
func (g *privileges) check(cfg *config.Config, plan *control.Plan) error {
	if g == nil {
		return nil
	}
	if err := confine.Check(needsOf(cfg)); err != nil {
		return err
	}
	user := userOf(plan)
	if user == nil {
		return nil
	}
	if err := user.Allowed(); err != nil {
		return positioned(cfg, err)
	}
	if err := user.Readable(namesOf(g.files)...); err != nil {
		return positioned(cfg, err)
	}
	return nil
}

// readableFor reports a file that the configured user cannot read. Only root can find that out; a
// user that does not exist on this machine may exist where the configuration is for.
func readableFor(cfg *config.Config, files []config.File) error {
	id, err := control.LookUpIdentity(cfg)
	if err != nil || id == nil {
		return nil
	}
	user := userOf(&control.Plan{Identity: id})
	if err := user.Readable(namesOf(files)...); err != nil {
		return cfg.Locate([]config.Fault{{Path: config.Path("user"), Msg: err.Error()}})
	}
	return nil
}

// positioned adds the position of the key user to an error.
func positioned(cfg *config.Config, err error) error {
	if at := cfg.Where(config.Path("user")); at != (config.Position{}) {
		return fmt.Errorf("%s: %w", at, err)
	}
	return err
}

// namesOf are the files that a reload reads again, if they are files.
func namesOf(files []config.File) (names []string) {
	for _, f := range files {
		if info, err := os.Stat(f.Name); err != nil || info.Mode().IsRegular() {
			names = append(names, f.Name)
		}
	}
	return names
}

var levels = map[config.Confine]confine.Level{
	config.ConfineAuto:   confine.Auto,
	config.ConfineStrict: confine.Strict,
	config.ConfineOff:    confine.Off,
}

// up gives up what the process does not need from now on. The pid file is written before: its
// directory may be root's.
func (g *privileges) up(p *process, plan *control.Plan) error {
	if g == nil {
		return nil
	}
	user := userOf(plan)
	if g.from == nil {
		if err := g.pid.writeFor(user); err != nil {
			return err
		}
	}
	var inherited confine.State
	if g.from != nil {
		g.from.early(stateConfined, &inherited, p.log)
	}
	report, err := confine.Apply(confine.Options{Level: levels[p.cfg.Confine], User: user, Needs: needsOf(p.cfg),
		Writable: writableOf(p.cfg, plan, g.pid), Inherited: inherited})
	if err != nil {
		return fmt.Errorf("cannot give up privileges: %w", err)
	}
	p.confined = report
	return nil
}

// restrictions are what the process after this one inherits and cannot see.
func (p *process) restrictions() confine.State {
	if p.confined == nil {
		return confine.State{}
	}
	return p.confined.State
}

// logConfined says in one line what the process cannot do any more.
func (p *process) logConfined() {
	r := p.confined
	if r == nil || p.cfg.Confine == config.ConfineOff && r.User == "" && !r.Writes {
		return
	}
	writes := "anywhere"
	if r.Writes {
		writes = "limited"
	}
	line := []any{"user", cmp.Or(r.User, fmt.Sprint(os.Geteuid())), "capabilities", r.Capabilities.String(),
		"no_new_privs", r.NoNewPrivs, "writes", writes, "syscalls_filtered", r.Filtered}
	if r.Missing != nil {
		line = append(line, "missing", strings.Join(r.Missing, "; "))
	}
	p.log.Info("confined", line...)
}

// stagePrivileges refuses a reload that needs a capability which the process has given up.
func stagePrivileges(_, next *config.Config) (commit, abort func(), err error) {
	return nil, nil, confine.Check(needsOf(next))
}

// early reads a part of the state that the old process sends before all other.
func (t *takeover) early(name string, into any, log *slog.Logger) {
	text := t.session.Early()
	_ = (&takeover{state: text}).read(name, into, log)
}

// writeFor is write for a user that the process is about to become: the file belongs to that user,
// so that the process after an upgrade can change it.
func (f pidFile) writeFor(user *confine.User) error {
	if err := f.write(); err != nil || f == "" || user == nil {
		return err
	}
	if err := os.Chown(string(f), user.UID, user.GID); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("pid file: %w", err)
	}
	return nil
}
