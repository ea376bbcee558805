package top

import (
	"context"
	"errors"
	"testing"
	"time"

	"l4proxy/admin"
)

// counting is a proxy whose counters grow with every request.
type counting struct {
	fake
	requests uint64
	stats    error
}

func (c *counting) Status(context.Context) (*admin.Status, error) {
	c.requests++
	_, s := samples()
	s.status.Pools[0].Backends[0].Total = 1000 * c.requests
	return s.status, c.err
}

func (c *counting) Stats(context.Context) (*admin.Stats, error) {
	_, s := samples()
	s.stats.Time = time.Unix(int64(c.requests), 0)
	s.stats.Listeners[0].Accepted = 50 * c.requests
	return s.stats, c.stats
}

func TestStream(t *testing.T) {
	source := new(counting)
	var all []*Snapshot
	write := func(s *Snapshot) error {
		all = append(all, s)
		return nil
	}
	if err := Stream(t.Context(), source, time.Millisecond, 2, write); err != nil || len(all) != 2 || source.requests != 3 {
		t.Fatalf("%d snapshots, %d requests, error %v", len(all), source.requests, err)
	}
	s := all[1]
	if l := s.Listeners[0]; l.Name != "web" || *l.Accepted != 50 || *l.In != 0 {
		t.Errorf("listener %+v", l)
	}
	if p := s.Pools[0]; p.Usable != 2 || p.Backends != 3 || p.State != "degraded" || p.Connections != 1200 {
		t.Errorf("pool %+v", p)
	}
	if b := s.Backends[0]; *b.Picked <= 0 || s.Backends[2].State != "down" || len(s.Busiest) != 3 {
		t.Errorf("backend %+v", b)
	}

	// A proxy without counters has no rates of listeners.
	source.stats, all = errors.New("not implemented"), nil
	if err := Stream(t.Context(), source, time.Millisecond, 1, write); err != nil || all[0].Listeners[0].Accepted != nil || all[0].Backends[0].Picked == nil {
		t.Errorf("%+v, error %v", all[0].Listeners[0], err)
	}
}

func TestStreamEnds(t *testing.T) {
	source := new(counting)
	full := errors.New("no space left on device")
	if err := Stream(t.Context(), source, time.Millisecond, 0, func(*Snapshot) error { return full }); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := Stream(ctx, source, time.Millisecond, 0, func(*Snapshot) error {
		cancel()
		return nil
	})
	if err != nil {
		t.Errorf("interrupted: error %v", err)
	}
	source.err = errors.New("gone")
	if err := Stream(t.Context(), source, time.Millisecond, 0, nil); !errors.Is(err, source.err) {
		t.Errorf("error %v", err)
	}
}
