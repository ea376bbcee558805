package main

import (
	"context"
	"fmt"
	"os"

	"l4proxy/config"
	"l4proxy/control"
	"l4proxy/proxy"
)

// load returns the function that reads the configuration, now and for each reload. The environment
// of a process does not change, but which file is read may: config.json can come or go.
func load(flag string) func() (*config.Config, []config.File, error) {
	return func() (*config.Config, []config.File, error) {
		return config.LoadFiles(configFile(flag, os.LookupEnv), os.LookupEnv)
	}
}

// allowReload makes the proxy reload. files are those that its configuration was read from.
func (p *process) allowReload(load func() (*config.Config, []config.File, error), files []config.File) {
	p.reloader = control.NewReloader(p.live, p.cfg, p.plan, files, control.ReloadOptions{
		Load: func() (*config.Config, []config.File, error) {
			if err := rereadable(p.cfg.File); err != nil {
				return nil, files, err
			}
			return load()
		},
		Lookup:    p.live.Directory.Lookup,
		Install:   func(s *proxy.State, most int) error { return p.server.Apply(s, most) },
		Counts:    p.server.Counts,
		Stages:    []control.Stage{p.stageLog, stagePrivileges, p.stageBans, p.admin.stage},
		Reloading: func(on bool) { p.systemd.reloading(p.server, on) },
		FileLimit: p.fileLimit,
		Workers:   p.server.Workers(),
		Log:       p.log,
	})
	p.plan = nil // it belongs to the Reloader now
}

// rereadable refuses a configuration that can be read only once: a pipe, as in -c <(command), would
// make a reload wait forever, or find it empty.
func rereadable(name string) error {
	info, err := os.Stat(name)
	if name == "" || err != nil || info.Mode().IsRegular() {
		return nil
	}
	return fmt.Errorf("cannot read %s again: it is not a regular file: write the configuration to a file, and restart l4proxy with it", name)
}

// stageLog is the stage of the log: its level, and whether there is a line for each connection.
func (p *process) stageLog(_, next *config.Config) (commit, abort func(), err error) {
	return func() {
		p.level.Configure(next.Log.Level)
		p.server.SetRecording(next.Log.Connections)
		p.server.SetDeniedRecords(next.Log.Denied)
	}, nil, nil
}

// runReloader reloads when a signal or a changed file asks for it, until ctx is done.
func (p *process) runReloader(ctx context.Context) {
	if p.reloader != nil {
		p.reloader.Run(ctx)
	}
}

// stopReloading cancels a reload that is under way, and returns the configuration that is in effect
// from now on.
func (p *process) stopReloading() *config.Config {
	if p.reloader == nil {
		return p.cfg
	}
	p.reloader.Close()
	return p.reloader.Config()
}
