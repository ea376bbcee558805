package logs

import (
	"log/slog"
	"sync"
	"time"
)

// Levels is the level of a log: the configured one, or another that an operator has set for a time.
// Make one with NewLevels. It is a [slog.Leveler].
type Levels struct {
	changed func(slog.Level)
	level   slog.LevelVar // in effect

	mu         sync.Mutex
	configured slog.Level
	set        *setLevel // nil: the configured one is in effect
}

// setLevel is a level that an operator has set.
type setLevel struct {
	level slog.Level
	until time.Time   // zero: until it is reset
	timer *time.Timer // nil without until
}

// LevelState describes Levels.
type LevelState struct {
	Level, Configured slog.Level
	// Until is when the configured level returns; zero if the two are the same, or if an operator
	// has set Level for good.
	Until time.Time
	// Set says that an operator has set Level.
	Set bool
}

// NewLevels returns a configured level. changed, if not nil, is called with each level that comes
// into effect, one call after another; it must not call the Levels.
func NewLevels(configured slog.Level, changed func(slog.Level)) *Levels {
	l := &Levels{changed: changed, configured: configured}
	l.level.Set(configured)
	return l
}

// Level implements [slog.Leveler].
func (l *Levels) Level() slog.Level { return l.level.Level() }

// Configure changes the configured level. One that an operator has set stays in effect.
func (l *Levels) Configure(level slog.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.configured = level
	l.apply()
}

// Set sets a level until the given time, or until Reset if that is zero.
func (l *Levels) Set(level slog.Level, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop()
	s := &setLevel{level: level, until: until}
	if !until.IsZero() {
		s.timer = time.AfterFunc(time.Until(until), func() { l.over(s) })
	}
	l.set = s
	l.apply()
}

// Reset returns to the configured level. It reports whether another one was in effect.
func (l *Levels) Reset() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.set != nil
	l.stop()
	l.apply()
	return was
}

// over ends s, if it is still in effect.
func (l *Levels) over(s *setLevel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.set == s {
		l.set = nil
		l.apply()
	}
}

func (l *Levels) stop() {
	if l.set != nil && l.set.timer != nil {
		l.set.timer.Stop()
	}
	l.set = nil
}

// apply puts into effect what is set.
func (l *Levels) apply() {
	level := l.configured
	if l.set != nil {
		level = l.set.level
	}
	if level == l.level.Level() {
		return
	}
	l.level.Set(level)
	if l.changed != nil {
		l.changed(level)
	}
}

// State returns what is in effect.
func (l *Levels) State() LevelState {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := LevelState{Level: l.level.Level(), Configured: l.configured}
	if l.set != nil {
		s.Set, s.Until = true, l.set.until
	}
	return s
}
