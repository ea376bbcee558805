package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"l4proxy/internal/rawsys"
	"l4proxy/proxy"
)

// stepLog writes one line for each step of a connection that is traced, whatever the level.
type stepLog struct{ log *slog.Logger }

// step is called on one goroutine.
func (l stepLog) step(s *proxy.Step) {
	attributes := []slog.Attr{
		slog.Uint64("trace", s.Trace),
		slog.String("step", s.Kind.String()),
		slog.String("listener", s.Listener.Name),
		slog.String("client", addressOf(s.Client)),
		seconds("age", s.Age),
	}
	text := func(key, value string) {
		if value != "" {
			attributes = append(attributes, slog.String(key, value))
		}
	}
	if s.Pool != nil {
		text("pool", s.Pool.Name)
	}
	if s.Backend != nil {
		text("backend", s.Backend.Address)
	}
	switch s.Kind {
	case proxy.StepAllowed, proxy.StepDenied:
		text("rule", s.Rule)
		if s.Prefix.IsValid() {
			text("prefix", s.Prefix.String())
		}
	case proxy.StepAccepted, proxy.StepMovedLoop:
		attributes = append(attributes, slog.Int("loop", s.Loop))
	case proxy.StepHeader:
		text("peer", addressOf(s.Peer))
	case proxy.StepHello:
		attributes = append(attributes, slog.Bool("tls", s.Hello.TLS))
		text("sni", s.Hello.ServerName)
		text("alpn", strings.Join(s.Hello.ALPN, ","))
	case proxy.StepDial, proxy.StepHedge:
		attributes = append(attributes, slog.Int("attempt", s.Attempt))
	case proxy.StepConnected, proxy.StepDialFailed:
		attributes = append(attributes, slog.Int("attempt", s.Attempt), seconds("took", s.Took))
	case proxy.StepFIN, proxy.StepReset, proxy.StepEnded:
		attributes = append(attributes, slog.Uint64("bytes_in", s.BytesIn), slog.Uint64("bytes_out", s.BytesOut))
		text("rule", s.Rule)
	}
	if s.Side != proxy.SideNone {
		text("side", s.Side.String())
	}
	if s.Reason != proxy.ReasonNone {
		text("reason", s.Reason.String())
	}
	if s.Errno != 0 {
		text("error", s.Errno.Error())
	}
	at := time.Now().Add(s.At - time.Duration(rawsys.Monotonic())) // not when the line is written
	record := slog.NewRecord(at, slog.LevelDebug, "trace", 0)
	record.AddAttrs(attributes...)
	_ = l.log.Handler().Handle(context.Background(), record) // into the queue, which takes it or counts it
}
