package events_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"l4proxy/events"
)

// logger returns a logger with a level, what it writes, and the Hub that it feeds.
func logger(level slog.Level) (*slog.Logger, *strings.Builder, *events.Hub) {
	text := new(strings.Builder)
	hub := events.NewHub(time.Now())
	return slog.New(events.NewHandler(slog.NewTextHandler(text, &slog.HandlerOptions{Level: level}), hub)), text, hub
}

func published(h *events.Hub) []events.Event {
	list, _ := h.After(0, events.Kept)
	for i := range list {
		list[i].ID, list[i].Time = 0, time.Time{}
	}
	return list
}

// An event has the attributes of the line and of its logger, those with a meaning in their fields.
func TestEventOfALine(t *testing.T) {
	log, text, hub := logger(slog.LevelInfo)
	log.With("pool", "pg").WithGroup("g").With("a", 1).Warn("backend down", "error", errors.New("refused"), "d", time.Second)
	log.With("pool", "pg", "backend", "10.0.0.5:1").Error("pool down: no usable backend", "listener", "l", "names", []string{"x", "y"})
	log.Info("what no table has", slog.Group("g", "n", uint64(2)), "nan", math.NaN(), "ok", true)
	want := []events.Event{
		{Level: "warn", Type: "backend_down", Message: "backend down", Pool: "pg", Details: map[string]any{"g.a": int64(1), "g.error": "refused", "g.d": 1.0}},
		{Level: "error", Type: "pool_down", Message: "pool down: no usable backend", Pool: "pg", Backend: "10.0.0.5:1", Listener: "l",
			Details: map[string]any{"names": []string{"x", "y"}}},
		{Level: "info", Type: "log", Message: "what no table has", Details: map[string]any{"g.n": uint64(2), "nan": "NaN", "ok": true}},
	}
	if diff := cmp.Diff(want, published(hub)); diff != "" {
		t.Error(diff)
	}
	if n := strings.Count(text.String(), "\n"); n != 3 || !strings.Contains(text.String(), "g.a=1") {
		t.Errorf("the log has %d lines:\n%s", n, text)
	}
}

// Events do not depend on the level of the log, and debug lines are none.
func TestEventsWhateverTheLevel(t *testing.T) {
	log, text, hub := logger(slog.LevelError)
	log.Debug("d")
	log.Info("i")
	log.Error("e")
	if got := published(hub); len(got) != 2 || got[0].Message != "i" || got[1].Message != "e" {
		t.Errorf("events: %+v", got)
	}
	if n := strings.Count(text.String(), "\n"); n != 1 {
		t.Errorf("the log has %d lines:\n%s", n, text)
	}
	verbose, text, hub := logger(slog.LevelDebug)
	verbose.Debug("d")
	if len(published(hub)) != 0 || text.Len() == 0 {
		t.Errorf("debug: %+v, log %q", published(hub), text)
	}
}

// A line of any size makes an event of a bounded size, and one that JSON has.
func TestEventsAreBounded(t *testing.T) {
	log, _, hub := logger(slog.LevelInfo)
	huge := strings.Repeat("x\xff", 1<<12)
	many := make([]string, 100)
	var attributes []any
	for i := range many {
		many[i] = huge
		attributes = append(attributes, slog.String(strings.Repeat("k", i), huge))
	}
	log.Info(huge, append([]any{"listener", huge, "many", many, "inf", math.Inf(1)}, attributes...)...)
	text, err := json.Marshal(published(hub)[0])
	if err != nil || len(text) > 16<<10 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}
