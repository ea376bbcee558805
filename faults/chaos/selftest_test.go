package chaos

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/proxy"
)

// impatience is the patience of tests in which something hangs.
const impatience = 250 * time.Millisecond

// TestJudgeFindsFlaws plays scripts through plain relays. All but one have a flaw.
func TestJudgeFindsFlaws(t *testing.T) {
	for _, test := range []struct {
		flaw  flaw
		plots []string
		find  string
	}{
		{noFlaw, []string{plotClean, plotReset, plotEarly, plotUnread, plotClash}, ""},
		{dropsByte, []string{plotClean}, "wrong bytes"},
		{doublesByte, []string{plotClean}, "wrong bytes"},
		{losesRest, []string{plotClean}, "end too early"},
		{endsResets, []string{plotReset}, "wrong end"},
		{resetsEnds, []string{plotClean}, "wrong end"},
		{losesEnds, []string{plotClean}, "hang"},
	} {
		t.Run(string(test.flaw), func(t *testing.T) {
			t.Parallel()
			others := map[string]bool{}
			for _, p := range plots {
				others[p.name] = true
			}
			for _, p := range test.plots {
				delete(others, p)
			}
			if test.flaw != noFlaw {
				others[plotUrgent] = true
			}
			kinds := playRelay(t, test.flaw, others)
			if test.find == "" {
				for kind, n := range kinds {
					t.Errorf("%s: %d", kind, n)
				}
			} else if kinds[test.find] == 0 {
				t.Errorf("found %v, want %s", kinds, test.find)
			}
		})
	}
}

// playRelay plays scripts through a relay and returns the kinds of faults found.
func playRelay(t *testing.T, flaw flaw, without map[string]bool) map[string]int {
	const players, many = 8, 100
	var all sync.WaitGroup
	var next atomic.Uint64
	var report report
	for i := range players {
		s := newSlot(t, strconv.Itoa(i))
		s.records = nil
		startRelay(t, s, flaw)
		all.Go(func() {
			for {
				id := next.Add(1)
				if id > many || flaw == losesEnds && id > players {
					return
				}
				script := generate(1, id, without)
				limit := s.patience
				if flaw != noFlaw {
					limit = impatience
				}
				s.patience = limit
				p := s.through(script, id)
				faults := script.judge(&p, script.families)
				if len(faults) > 0 {
					s.leftovers()
				}
				report.note("", script, &p, faults)
			}
		})
	}
	all.Wait()
	if flaw == noFlaw && len(report.texts) > 0 {
		t.Error(report.texts[0])
	}
	return report.kinds
}

// TestJudgeOfRecords compares wrong records with one connection that ended well.
func TestJudgeOfRecords(t *testing.T) {
	s := &script{parts: [2]part{
		{steps: []step{{op: opSend, n: 10, size: 10}}, ending: finFirst},
		{steps: []step{{op: opSend, n: 20, size: 20}}, ending: finLast},
	}}
	good := proxy.Record{BytesIn: 10, BytesOut: 20, Outcome: proxy.Outcome{Side: proxy.SideClient, Reason: proxy.ReasonClosed}}
	for name, test := range map[string]struct {
		change func(*played, *proxy.Record)
		faults int
	}{
		"right":          {func(*played, *proxy.Record) {}, 0},
		"none":           {func(p *played, _ *proxy.Record) { p.record = nil }, 1},
		"two":            {func(p *played, _ *proxy.Record) { p.more = 1 }, 1},
		"too few bytes":  {func(_ *played, r *proxy.Record) { r.BytesIn-- }, 1},
		"too many bytes": {func(_ *played, r *proxy.Record) { r.BytesOut++ }, 1},
		"other side":     {func(_ *played, r *proxy.Record) { r.Side = proxy.SideBackend }, 1},
		"other reason":   {func(_ *played, r *proxy.Record) { r.Reason = proxy.ReasonReset }, 1},
	} {
		r := good
		p := played{record: &r, sides: [2]seen{{received: 20, sent: 10}, {received: 10, sent: 20}}}
		test.change(&p, &r)
		if got := s.judgeRecord(&p); len(got) != test.faults {
			t.Errorf("%s: found %v", name, got)
		}
	}
}

// TestScriptsAreRepeatable makes scripts twice.
func TestScriptsAreRepeatable(t *testing.T) {
	for id := range uint64(1000) {
		if a, b := generate(7, id, nil).String(), generate(7, id, nil).String(); a != b {
			t.Fatalf("two scripts of one seed:\n%s\n%s", a, b)
		}
	}
}
