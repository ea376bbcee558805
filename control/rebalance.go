package control

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/proxy"
)

const (
	// rebalanceEvery is how often, at most, it is looked whether connections are spread fairly.
	rebalanceEvery = 100 * time.Millisecond
	// rebalanceQuiet is how long nothing must have moved on a connection that is ended: its client is between two
	// requests, not within one.
	rebalanceQuiet = time.Second
	// rebalanceSlack is by how much, as a divisor, a backend may have more than its share.
	rebalanceSlack = 10
)

// rebalancer ends long idle connections of backends that have more than their share of them, at a bounded rate, so that
// their clients come back and are spread anew: after others have come back or were added, nothing else would do that.
type rebalancer struct {
	rate   config.Rebalance
	pool   *proxy.Pool
	server dataPlane
	log    *slog.Logger
	due    float64 // connections that may be ended by now
}

func (r *rebalancer) run(ctx context.Context) {
	every := max(rebalanceEvery, time.Duration(float64(time.Second)/r.rate.Rate))
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		r.due = min(r.due+r.rate.Rate*every.Seconds(), max(1, r.rate.Rate)) // a second's worth may be made up for
		r.step()
		jitter := (2*rand.Float64() - 1) * float64(r.rate.Jitter) / 100
		timer.Reset(time.Duration(float64(every) * (1 + jitter)))
	}
}

// step ends as many connections of the fullest backend as are due and too many.
func (r *rebalancer) step() {
	b, excess := fullest(r.pool.Balancer.Shares())
	n := min(excess, int(r.due))
	if n <= 0 {
		return
	}
	idle := r.server.Idle(b, rebalanceQuiet, n)
	slices.SortFunc(idle, func(a, b proxy.IdleConn) int { return int(a.Since - b.Since) })
	n = min(n, len(idle))
	for _, i := range idle[:n] {
		r.server.EndIdle(i, proxy.ReasonRebalanced)
	}
	r.due -= float64(n)
	if n > 0 {
		r.log.Debug("rebalancing", "pool", r.pool.Name, "backend", b.Address, "connections", n, "too_many", excess)
	}
}

// fullest returns the backend that has the most connections beyond its share, and how many these are; 0 when the spread
// is fair.
func fullest(shares []balancer.Share) (b *backend.Backend, excess int) {
	total := int64(0)
	for _, s := range shares {
		total += s.Active
	}
	most := 0.0
	for _, s := range shares {
		fair := s.Weight * float64(total)
		if over := float64(s.Active) - fair; over > most && over > max(1, fair/rebalanceSlack) {
			b, most = s.Backend, over
		}
	}
	return b, int(most)
}
