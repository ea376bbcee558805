package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"l4proxy/admin"
	"l4proxy/logs"
	"l4proxy/proxy"
)

const (
	// traceDefault is how long a trace lasts without For, and debugMost the longest For.
	traceDefault = 5 * time.Minute
	debugMost    = 24 * time.Hour
)

// newLevels makes the level of the log. With debug, the steps of all connections are logged.
func (p *process) newLevels(configured slog.Level) *logs.Levels {
	return logs.NewLevels(configured, func(level slog.Level) {
		if p.server != nil {
			p.server.TraceAll(level <= slog.LevelDebug)
		}
	})
}

// adminDebug is what is logged at present.
func (p *process) adminDebug(context.Context) (*admin.Debug, error) {
	state := p.level.State()
	shown := &admin.Debug{
		Level: levelName(state.Level), Configured: levelName(state.Configured), LevelSet: state.Set,
		LevelUntil: known(state.Until), Traces: []admin.Trace{},
	}
	for _, t := range p.server.Traces() {
		shown.Traces = append(shown.Traces, admin.Trace{
			Listener: t.Listener, From: admin.Prefix{Prefix: t.From}, Since: t.Since.UTC().Truncate(time.Millisecond),
			Until: t.Until.UTC().Truncate(time.Millisecond), Connections: t.Connections, LeftOut: t.LeftOut,
		})
	}
	return shown, nil
}

func levelName(l slog.Level) string { return strings.ToLower(l.String()) }

// adminSetDebug changes what is logged.
func (p *process) adminSetDebug(ctx context.Context, q admin.DebugRequest) (*admin.Debug, error) {
	level, err := checkDebug(&q)
	if err != nil {
		return nil, err
	}
	if q.Listener != "" && !q.Stop {
		if _, err := chooseListener(p.live.Listeners(), q.Listener); err != nil {
			return nil, err
		}
	}
	filter := proxy.TraceFilter{Listener: q.Listener, From: q.From.Prefix}
	duration := time.Duration(q.For)
	switch {
	case q.Stop && filter == (proxy.TraceFilter{}):
		p.server.StopTraces(nil)
		p.resetLevel()
	case q.Stop:
		if p.server.StopTraces(&filter) == 0 {
			return nil, admin.NotFound("no such trace", "GET /api/v1/debug lists the traces")
		}
	case q.Level != "":
		p.setLevel(level, duration)
	default:
		if duration == 0 {
			duration = traceDefault
		}
		if err := p.server.Trace(filter, time.Now().Add(duration)); errors.Is(err, proxy.ErrTooManyTraces) {
			return nil, admin.Conflict(err.Error(), "stop one first, or trace a larger prefix")
		} else if err != nil {
			return nil, err
		}
	}
	return p.adminDebug(ctx)
}

// checkDebug reports what does not fit together, and returns the level.
func checkDebug(q *admin.DebugRequest) (slog.Level, error) {
	traces := q.Listener != "" || q.From.IsValid()
	switch {
	case q.Level != "" && (traces || q.Stop):
		return 0, admin.Invalid("a level is that of the whole process", "send it without listener, from and stop")
	case q.Level == "" && !traces && !q.Stop:
		return 0, admin.Invalid("nothing to change", `send a level, or the listener or the prefix ("from") to trace, or "stop": true`)
	case q.For < 0 || time.Duration(q.For) > debugMost:
		return 0, admin.Invalid(fmt.Sprintf("for is %s", time.Duration(q.For)), "write a duration up to 24h")
	case q.Stop && q.For != 0:
		return 0, admin.Invalid("stop has no duration", "remove one of them")
	case q.Level == "":
		return 0, nil
	}
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if levelName(level) == q.Level {
			return level, nil
		}
	}
	return 0, admin.Invalid("unknown level "+q.Level, "write debug, info, warn or error")
}

// setLevel sets a level for a time, or for good if that is 0.
func (p *process) setLevel(level slog.Level, duration time.Duration) {
	until, text := time.Time{}, "until it is reset"
	if duration > 0 {
		until, text = time.Now().Add(duration), duration.String()
	}
	p.level.Set(level, until)
	p.always.Info("log level set", "level", levelName(level), "for", text)
}

func (p *process) resetLevel() {
	if p.level.Reset() {
		p.always.Info("log level reset", "level", levelName(p.level.Level()))
	}
}

// savedDebug is what an operator has set, for the next process.
type savedDebug struct {
	Level  *savedLevel  `json:"level,omitempty"`
	Traces []savedTrace `json:"traces,omitempty"`
}

type savedLevel struct {
	Level slog.Level `json:"level"`
	Until time.Time  `json:"until,omitzero"`
}

type savedTrace struct {
	Listener string       `json:"listener,omitempty"`
	From     admin.Prefix `json:"from,omitzero"`
	Until    time.Time    `json:"until"`
}

func (p *process) saveDebug() (s savedDebug) {
	if state := p.level.State(); state.Set {
		s.Level = &savedLevel{state.Level, state.Until.UTC()}
	}
	for _, t := range p.server.Traces() {
		s.Traces = append(s.Traces, savedTrace{t.Listener, admin.Prefix{Prefix: t.From}, t.Until.UTC()})
	}
	return s
}

// restoreDebug carries on with what was set in the old process, as far as its time is not over.
func (p *process) restoreDebug(s savedDebug) {
	now := time.Now()
	if l := s.Level; l != nil && (l.Until.IsZero() || l.Until.After(now)) {
		p.level.Set(l.Level, within(l.Until, now))
	}
	for _, t := range s.Traces {
		if t.Until.After(now) {
			_ = p.server.Trace(proxy.TraceFilter{Listener: t.Listener, From: t.From.Prefix}, within(t.Until, now))
		}
	}
}

// within bounds a time of another process.
func within(until, now time.Time) time.Time {
	if latest := now.Add(debugMost); until.After(latest) {
		return latest
	}
	return until
}
