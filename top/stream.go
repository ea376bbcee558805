package top

import (
	"context"
	"time"

	"l4proxy/admin"
)

// Snapshot is what `l4proxy top --json` prints for each interval. Names are stable: fields are
// added, never renamed. A rate that is unknown is left out.
type Snapshot struct {
	Time        time.Time          `json:"time"`
	Connections int                `json:"connections"`
	Listeners   []ListenerSnapshot `json:"listeners"`
	Pools       []PoolSnapshot     `json:"pools"`
	Backends    []BackendSnapshot  `json:"backends"`
	// Busiest are the connections that move the most bytes; empty if the proxy cannot list any.
	Busiest []admin.Connection `json:"busiest"`
}

// ListenerSnapshot is one listener. Rates are per second, In and Out in bytes.
type ListenerSnapshot struct {
	Name        string   `json:"name"`
	State       string   `json:"state"`
	Connections int64    `json:"connections"`
	Accepted    *float64 `json:"accepted_rate,omitempty"`
	Denied      *float64 `json:"denied_rate,omitempty"`
	Failed      *float64 `json:"failed_rate,omitempty"`
	In          *float64 `json:"rate_in,omitempty"`
	Out         *float64 `json:"rate_out,omitempty"`
}

// PoolSnapshot is one pool. Usable of its Backends can get clients.
type PoolSnapshot struct {
	Name        string   `json:"name"`
	State       string   `json:"state"` // "up", "degraded" or "down"
	Usable      int      `json:"usable"`
	Backends    int      `json:"backends"`
	Connections int64    `json:"connections"`
	Queued      int      `json:"queued"`
	Dials       *float64 `json:"dial_rate,omitempty"`
	FailedDials *float64 `json:"failed_dial_rate,omitempty"`
}

// BackendSnapshot is one backend of a pool.
type BackendSnapshot struct {
	Pool        string   `json:"pool"`
	Address     string   `json:"address"`
	Resolved    string   `json:"resolved,omitempty"`
	State       string   `json:"state"`
	Connections int64    `json:"connections"`
	Picked      *float64 `json:"picked_rate,omitempty"`
	FailedDials *float64 `json:"failed_dial_rate,omitempty"`
}

// streamed is how many connections a Snapshot has at most.
const streamed = 20

// Stream passes count Snapshots to write, one per interval; with count 0, until ctx is done. It
// returns the first error of the source or of write.
func Stream(ctx context.Context, source Source, interval time.Duration, count int, write func(*Snapshot) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	m := newModel(ctx, source, Options{})
	for n := 0; ; {
		next, err := take(ctx, source)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		before := m.last
		m.rates, m.last = ratesOf(next, before), next
		if before != nil { // rates take two samples
			m.fill()
			s := m.snapshot()
			if page, err := source.Connections(ctx, admin.ConnectionQuery{Sort: "rate", Limit: streamed}); err == nil {
				s.Busiest = page.Connections
			}
			if err := write(s); err != nil {
				return err
			}
			n++
			if n == count {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// snapshot is what the panes have.
func (m *model) snapshot() *Snapshot {
	s := &Snapshot{
		Time: m.last.at.UTC(), Connections: m.last.status.Connections,
		Listeners: []ListenerSnapshot{}, Pools: []PoolSnapshot{}, Backends: []BackendSnapshot{}, Busiest: []admin.Connection{},
	}
	for i := range m.listeners.all {
		l := &m.listeners.all[i]
		s.Listeners = append(s.Listeners, ListenerSnapshot{
			l.Name, l.State, l.Connections, known(l.rates.accepted), known(l.rates.denied), known(l.rates.failed), known(l.rates.in), known(l.rates.out),
		})
	}
	for i := range m.pools.all {
		p := &m.pools.all[i]
		s.Pools = append(s.Pools, PoolSnapshot{
			p.Name, p.state(), p.usable, len(p.Backends), p.connections, p.Queued, known(p.rates.dials), known(p.rates.failed),
		})
	}
	for i := range m.backends.all {
		b := &m.backends.all[i]
		s.Backends = append(s.Backends, BackendSnapshot{
			b.pool, b.Address, b.Resolved, b.State, b.Connections, known(b.rates.picked), known(b.rates.failed),
		})
	}
	return s
}

// known is a rate for JSON; nil if it is unknown.
func known(rate float64) *float64 {
	if rate == unknown {
		return nil
	}
	return &rate
}
