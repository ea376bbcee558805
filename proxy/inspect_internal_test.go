package proxy

import (
	"testing"
	"time"
)

// A rate is over the time between two looks; what cannot be known yet is not invented.
func TestRateSample(t *testing.T) {
	const s, ms = int64(time.Second), int64(time.Millisecond)
	old := -100 * s // accepted
	look := func(at, active int64, in, out uint64) *connRow {
		return &connRow{connKey: connKey{serial: 7}, seen: at, accepted: old, lastActive: active, bytes: [2]uint64{in, out}}
	}
	for _, test := range []struct {
		name  string
		looks []*connRow
		want  connRate
	}{
		{"the first look", []*connRow{look(s, s, 1000, 0)}, connRate{}},
		{"too soon", []*connRow{look(s, s, 1000, 0), look(s+100*ms, s, 2000, 0)}, connRate{}},
		{"a quarter of a second", []*connRow{look(s, s, 1000, 0), look(s+250*ms, s+250*ms, 2000, 500)}, connRate{4000, 2000, true}},
		{"a second", []*connRow{look(s, s, 1000, 0), look(2*s, 2*s, 2000, 500)}, connRate{1000, 500, true}},
		{"the rate before", []*connRow{look(s, s, 0, 0), look(2*s, 2*s, 2000, 0), look(2*s+500*ms, 2*s, 9000, 0)}, connRate{2000, 0, true}},
		{"too long ago", []*connRow{look(s, s, 0, 0), look(9*s, 9*s, 2000, 0)}, connRate{}},
		{"no byte for a second", []*connRow{look(9*s, 8*s, 1000, 1000)}, connRate{0, 0, true}},
		{"no byte any more", []*connRow{look(s, s, 0, 0), look(2*s, 2*s, 2000, 0), look(4*s, 2*s, 2000, 0)}, connRate{0, 0, true}},
		{"young", []*connRow{{connKey: connKey{serial: 7}, seen: 2 * s, accepted: s + 500*ms, lastActive: 2 * s, bytes: [2]uint64{500, 5}}}, connRate{1000, 10, true}},
		{"too young", []*connRow{{connKey: connKey{serial: 7}, seen: 2 * s, accepted: 2*s - 1, lastActive: 2 * s, bytes: [2]uint64{500, 5}}}, connRate{}},
		{"another connection", []*connRow{{connKey: connKey{serial: 6}, seen: s, accepted: old, lastActive: s}, look(2*s, 2*s, 5000, 0)}, connRate{}},
		{"bytes that were discarded", []*connRow{look(s, s, 1000, 0), look(2*s, 2*s, 0, 0)}, connRate{0, 0, true}},
	} {
		var all rates
		var got connRate
		for _, row := range test.looks {
			got = all.note([]connRow{*row})[0]
		}
		if got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
		if all.forget(); all.samples != nil || all.drop != nil {
			t.Errorf("%s: something is kept", test.name)
		}
	}
}

// A kill with a rate does not catch up after a pause.
func TestKillPace(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := killPace{rate: 40, due: 1, last: now}
	ended := 0
	step := func(d time.Duration, want int) {
		t.Helper()
		now = now.Add(d)
		n := p.now(now)
		if ended += n; ended != want {
			t.Errorf("%d have ended, want %d", ended, want)
		}
		if pause := p.ended(n); pause < killEvery {
			t.Errorf("a pause of %v", pause)
		}
	}
	step(0, 1)
	step(50*time.Millisecond, 3)
	step(50*time.Millisecond, 5)
	step(time.Minute, 9)
	step(25*time.Millisecond, 10)
	slow := killPace{rate: 0.5, due: 1, last: now}
	if n, pause := slow.now(now), slow.ended(1); n != 1 || pause != 2*time.Second {
		t.Errorf("%d, then a pause of %v", n, pause)
	}
	if n := slow.now(now.Add(time.Hour)); n != 1 {
		t.Errorf("after an hour, %d", n)
	}
}

// Lists for later pages are forgotten when they are not used.
func TestListsExpire(t *testing.T) {
	var l lists
	l.keep(&ConnQuery{Sort: SortIdle}, make([]connKey, 3), 1)
	for _, list := range l.all {
		list.used = time.Now().Add(-listKept)
	}
	l.keep(&ConnQuery{Sort: SortIdle}, make([]connKey, 3), 1)
	if l.expire(); len(l.all) != 1 || l.expiry == nil {
		t.Errorf("%d lists are kept", len(l.all))
	}
	for _, list := range l.all {
		list.used = time.Now().Add(-listKept)
	}
	if l.expire(); len(l.all) != 0 || l.expiry != nil {
		t.Errorf("%d lists are kept", len(l.all))
	}
}

// A cursor or an id from a client is read without harm, and only if it was written here.
func FuzzCursor(f *testing.F) {
	for _, text := range []string{"age-12-0-7-9", "idle-1-20", "0-7-9", "age--1-0-0-0", "bytes-18446744073709551616-1", "----", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if k, ok := parseConnKey(text); ok && k.String() != text {
			t.Errorf("%q is read as %s", text, k)
		}
		var row connRow
		if row.parseAge(text) && !row.parseAge(row.ageText()) {
			t.Errorf("%q is written as %q", text, row.ageText())
		}
		var l lists
		l.keep(&ConnQuery{Sort: SortIdle}, make([]connKey, 30), 1)
		found, err := l.resume(&ConnQuery{Sort: SortIdle, After: text})
		if (err == nil) == (found == nil) {
			t.Errorf("%q: %+v, %v", text, found, err)
		}
		l.expiry.Stop()
	})
}
