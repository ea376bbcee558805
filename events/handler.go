package events

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"time"
)

const (
	// maxText bounds a text in an event, maxDetails the number of details, and maxTexts the texts
	// of all of them: a ring that is full takes a few megabytes at most.
	maxText    = 1024
	maxDetails = 16
	maxTexts   = 4096
	// maxList bounds a list in a detail.
	maxList = 32
)

// Handler publishes log lines of level info and above on a Hub, whatever the level of the log is,
// and passes all lines on to the log's own handler.
//
// The lines of connections must not come this way: there are too many. Nor does the Handler look at
// debug lines.
type Handler struct {
	next slog.Handler
	hub  *Hub
	// with are the attributes of the logger, and prefix its groups.
	with   []slog.Attr
	prefix string
}

// NewHandler returns a Handler in front of next.
func NewHandler(next slog.Handler, hub *Hub) *Handler { return &Handler{next: next, hub: hub} }

// Enabled reports whether the line is for the log or is an event.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.next.Enabled(ctx, level)
}

// Handle publishes a line, and passes it on.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		h.hub.Publish(h.event(&r))
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.next = h.next.WithAttrs(attrs)
	next.with = append([]slog.Attr{}, h.with...)
	for _, a := range attrs {
		a.Key = h.prefix + a.Key
		next.with = append(next.with, a)
	}
	return &next
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.next = h.next.WithGroup(name)
	next.prefix += name + "."
	return &next
}

// event is the event of a line.
func (h *Handler) event(r *slog.Record) Event {
	e := Event{
		Time: r.Time.UTC().Truncate(time.Millisecond), Level: strings.ToLower(levelOf(r.Level).String()),
		Type: TypeOf(r.Message), Message: cut(r.Message, maxText),
	}
	d := details{all: make(map[string]any), left: maxTexts}
	for _, a := range h.with {
		e.add(&d, a)
	}
	r.Attrs(func(a slog.Attr) bool {
		a.Key = h.prefix + a.Key
		e.add(&d, a)
		return true
	})
	if len(d.all) > 0 {
		e.Details = d.all
	}
	return e
}

// add puts an attribute where it belongs.
func (e *Event) add(d *details, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindString {
		switch a.Key {
		case "listener":
			e.Listener = cut(v.String(), maxText)
			return
		case "pool":
			e.Pool = cut(v.String(), maxText)
			return
		case "backend":
			e.Backend = cut(v.String(), maxText)
			return
		}
	}
	d.add(a.Key, v)
}

// levelOf is the level of an event: custom levels count as the one below.
func levelOf(l slog.Level) slog.Level {
	switch {
	case l >= slog.LevelError:
		return slog.LevelError
	case l >= slog.LevelWarn:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// Notice is an event that no log line stands for.
func Notice(level slog.Level, kind, message string, details map[string]any) Event {
	return Event{Time: time.Now().UTC().Truncate(time.Millisecond), Level: strings.ToLower(levelOf(level).String()), Type: kind,
		Message: message, Details: maps.Clone(details)}
}
