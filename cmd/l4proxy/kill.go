package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"l4proxy/admin"
	"l4proxy/proxy"
)

const (
	// killTimeout is how long ending all connections at once may take.
	killTimeout = time.Minute
	// killSample is how many connections the answer to a kill shows.
	killSample = 10
)

// adminKill ends connections, unless an upgrade is just moving them.
func (p *process) adminKill(ctx context.Context, q admin.KillRequest) (*admin.Kill, error) {
	if err := p.upgrades.change(func() error { return nil }); err != nil {
		return nil, admin.Conflict(err.Error(), "try again in a second")
	}
	rate, err := admin.ParseRate(q.Rate)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	filter := connFilter(&q.ConnectionFilter)
	filter.ID = q.ID
	log := p.log.With(killAttributes(&q)...)
	result, err := p.server.Kill(ctx, proxy.Kill{
		ConnFilter: filter, Rate: rate, DryRun: q.DryRun, Sample: killSample,
		Begin: func(matched int) {
			if rate > 0 { // otherwise, the other line follows at once
				log.Info("killing connections", "connections", matched, "rate", q.Rate)
			}
		},
		Done: func(r proxy.KillReport) { logKilled(log, &r) },
	})
	switch {
	case errors.Is(err, proxy.ErrKillsBusy):
		return nil, admin.Conflict(err.Error(), "wait until one has ended: the log has a line for each")
	case errors.Is(err, proxy.ErrKillTooLong):
		return nil, admin.Refused(fmt.Sprintf("%s: it would take %s for %d connections", err, result.Left.Round(time.Second), result.Matched),
			"use a higher rate, or a filter that selects fewer")
	case errors.Is(err, proxy.ErrHandedOver):
		return nil, admin.Conflict(err.Error(), "repeat the request: the new process answers it")
	case err != nil:
		return nil, loopsError(err)
	case result.Matched == 0 && q.ID != "":
		return nil, admin.NotFound("no connection has the id "+q.ID, "it has ended, or an upgrade has renumbered it: l4proxy conns lists the connections")
	case result.Matched == 0:
		if err := p.unknownName(&q.ConnectionFilter); err != nil {
			return nil, err
		}
	}
	return &admin.Kill{
		DryRun: q.DryRun, Matched: result.Matched, Killed: result.Killed, Seconds: admin.Seconds(result.Left),
		Sample: shownConns(result.Sample, time.Now()),
	}, nil
}

// killAttributes say in the log what a kill is about.
func killAttributes(q *admin.KillRequest) (all []any) {
	for _, a := range []struct{ name, value string }{
		{"listener", q.Listener}, {"pool", q.Pool}, {"backend", q.Backend}, {"from", q.From.String()}, {"id", q.ID},
		{"older_than", durationText(q.OlderThan)}, {"idle", durationText(q.Idle)},
	} {
		if a.value != "" {
			all = append(all, slog.String(a.name, a.value))
		}
	}
	return all
}

func durationText(d admin.Duration) string {
	if d == 0 {
		return ""
	}
	return time.Duration(d).String()
}

// logKilled logs what became of a kill.
func logKilled(log *slog.Logger, r *proxy.KillReport) {
	log = log.With("killed", r.Killed, "matched", r.Matched, "spared", r.Spared, "seconds", admin.Seconds(r.Took))
	if r.Err != nil {
		log.Warn("kill ended early", "left", r.Matched-r.Killed-r.Spared, "error", r.Err.Error())
		return
	}
	log.Info("connections killed")
}
