package doctor

import (
	"cmp"
	"fmt"
	"slices"
)

// Level says how bad a finding is.
type Level int

// Levels, the best first.
const (
	OK      Level = iota // checked, and fine
	Note                 // good to know
	Warning              // it bites under load, or after a restart
	Problem              // the proxy cannot start, or clients notice now
)

var levels = []string{"ok", "note", "warning", "problem"}

func (l Level) String() string { return levels[l] }

// MarshalText writes "warning".
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads "warning".
func (l *Level) UnmarshalText(text []byte) error {
	i := slices.Index(levels, string(text))
	if i < 0 {
		return fmt.Errorf("unknown level %q", text)
	}
	*l = Level(i)
	return nil
}

// Finding is what a check has found. Names in JSON are stable.
type Finding struct {
	// Check is the name of the check.
	Check string `json:"check"`
	Level Level  `json:"level"`
	// Found is what was found, with the value.
	Found string `json:"found"`
	// Why says in one sentence why that matters, and Do what to do; both are empty for OK. Do may
	// have several lines.
	Why string `json:"why,omitempty"`
	Do  string `json:"do,omitempty"`
}

func fine(format string, args ...any) []Finding {
	return []Finding{{Level: OK, Found: fmt.Sprintf(format, args...)}}
}

// Run makes all checks, and returns the findings: problems first, and otherwise in the order of
// [Checks].
func Run(f *Facts) []Finding {
	var all []Finding
	for _, c := range Checks {
		for _, finding := range c.look(f) {
			finding.Check = c.Name
			all = append(all, finding)
		}
	}
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(b.Level, a.Level) })
	return all
}

// Count returns how many findings have a level.
func Count(findings []Finding, level Level) (n int) {
	for _, f := range findings {
		if f.Level == level {
			n++
		}
	}
	return n
}
