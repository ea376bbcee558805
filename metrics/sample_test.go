package metrics

import (
	"fmt"
	"time"

	"l4proxy/internal/histogram"
)

// fixed is a Source that does not change.
type fixed struct{ snapshot *Snapshot }

func (f fixed) Snapshot() *Snapshot { return f.snapshot }

var testBounds = histogram.Bounds{0.001, 0.01, 0.1, 1}

func times(all ...time.Duration) histogram.Snapshot {
	var h histogram.Histogram
	for _, d := range all {
		h.Observe(testBounds, d)
	}
	return histogram.Sum(testBounds, &h)
}

// sample has a value for each metric.
func sample(backends int) *Snapshot {
	s := &Snapshot{
		Version: "1.2.3", Revision: "abc", GoVersion: "go1.26", Engine: "io_uring", Started: time.Unix(1_700_000_000, 0), Ready: true,
		Connections: 7, MaxConnections: 1000, Orphans: 1, LinesDropped: 2, RecordsDropped: 3,
		Config:     Config{LastOK: true, Applied: time.Unix(1_700_000_100, 0), Generation: 4, Succeeded: 3, Failed: 1, Rollback: 1},
		UpgradesOK: 2, UpgradesFailed: 1, ListenerDrains: 1, BackendDrains: 2, Lookups: 10, FailedLookups: 2, NamesFailing: 1,
		Listeners: []Listener{
			{
				Name: "web", Open: true, MaxConnections: 500, Active: 4, Accepted: 100, BytesIn: 1 << 40, BytesOut: 12,
				Ended:          []Ended{{"client", "closed", 90}, {"proxy", "denied", 6}},
				Denied:         []Count{{"deny[0]", 6}, {"default", 0}},
				Rules:          []Rule{{"default", "deny", 0, time.Time{}}, {"deny[0]", "deny", 6, time.Unix(1_700_000_200, 5e8)}, {"lab", "shadow", 9, time.Unix(1_700_000_300, 0)}},
				Tarpitted:      2,
				BandwidthWaits: []Waits{{"out", "listener", 12, 3 * time.Second}},
				Pauses:         []Count{{"slots", 1}, {"resources", 0}, {"error", 0}},
				Durations:      times(0, time.Millisecond, time.Second, time.Hour),
				PerClient:      &PerClient{Clients: 3, Recent: 2, Unrated: 1},
			},
			{Name: "old \"one\"\n", Removed: true, Active: 1, Accepted: 5, Durations: times()},
		},
		Pools: []Pool{{
			Name: "back", Active: 5, Limit: 9, Serving: true, States: []Count{{"up", uint64(backends)}, {"down", 0}}, Retries: 1, Hedges: 2, HedgesWon: 1,
			Ejections: 1, Backoffs: 2, Waiting: 3, Queued: 4, QueueTimeouts: 1, QueueRejected: 2, Pauses: 1,
			DialTimes: times(time.Millisecond), Waits: times(time.Minute),
		}},
		Loops: []Loop{{Busy: 1500 * time.Millisecond, Delay: time.Millisecond, DelayKnown: true, Connections: 3}, {Busy: time.Second}},
	}
	for i := range backends {
		b := Backend{Address: fmt.Sprintf("10.%d.%d.%d:5432", i>>16, i>>8&255, i&255), Up: i%7 != 0, Active: int64(i % 5), DialsOK: uint64(i)}
		if i%10 == 0 {
			b.FailedDials = []Count{{"connect_refused", 3}}
		}
		s.Pools[0].Backends = append(s.Pools[0].Backends, b)
	}
	return s
}
