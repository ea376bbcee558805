package proxy

import (
	"log/slog"
	"testing"
)

// TestDeniedRecords: at most a second's worth of records comes at once, and then one at a time.
func TestDeniedRecords(t *testing.T) {
	s := &Server{log: slog.New(slog.DiscardHandler)}
	s.workers = []*worker{{server: s}, {server: s}}
	w := s.workers[0]
	made := func(now int64, n int) (made int) {
		for range n {
			if !w.withhold(now) {
				made++
			}
		}
		return made
	}
	if n := made(0, 1000); n != 1000 {
		t.Errorf("%d records without a limit", n)
	}
	s.SetDeniedRecords(100) // 50 for each loop
	for _, step := range []struct {
		now  int64
		want int
	}{{5e9, 50}, {5e9 + 1e6, 0}, {5e9 + 20e6, 1}, {6e9 + 20e6, 50}, {60e9, 50}} {
		if n := made(step.now, 200); n != step.want {
			t.Errorf("%d records at %d ms, want %d", n, step.now/1e6, step.want)
		}
	}
	if n := s.Withheld(); n != 5*200-151 {
		t.Errorf("%d withheld", n)
	}
	s.SetDeniedRecords(0.5) // less than one a second for each loop
	w.nextDenied = 0
	if n := made(70e9, 10) + made(71e9, 10) + made(74e9, 10); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
}
