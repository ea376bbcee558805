package logs

import (
	"log/slog"
	"slices"
	"testing"
	"time"
)

func TestLevels(t *testing.T) {
	changes := make(chan slog.Level, 10)
	l := NewLevels(slog.LevelInfo, func(level slog.Level) { changes <- level })
	is := func(want LevelState) {
		t.Helper()
		if got := l.State(); got != want || l.Level() != want.Level {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	is(LevelState{Level: slog.LevelInfo, Configured: slog.LevelInfo})
	l.Set(slog.LevelDebug, time.Time{})
	is(LevelState{Level: slog.LevelDebug, Configured: slog.LevelInfo, Set: true})
	l.Configure(slog.LevelError) // a reload: what an operator has set stays
	is(LevelState{Level: slog.LevelDebug, Configured: slog.LevelError, Set: true})
	if !l.Reset() || l.Reset() {
		t.Error("Reset reported something else than a change")
	}
	is(LevelState{Level: slog.LevelError, Configured: slog.LevelError})
	later := time.Now().Add(time.Hour)
	l.Set(slog.LevelWarn, time.Now().Add(time.Minute))
	l.Set(slog.LevelInfo, later)
	is(LevelState{Level: slog.LevelInfo, Configured: slog.LevelError, Until: later, Set: true})
	l.Configure(slog.LevelInfo) // the same level is no change
	l.Reset()

	l.Set(slog.LevelDebug, time.Now().Add(time.Millisecond))
	want := []slog.Level{slog.LevelDebug, slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug, slog.LevelInfo}
	var got []slog.Level
	for range want {
		select {
		case level := <-changes:
			got = append(got, level)
		case <-time.After(soon):
			t.Fatalf("changes %v, want %v", got, want)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
	is(LevelState{Level: slog.LevelInfo, Configured: slog.LevelInfo})
}
