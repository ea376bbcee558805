package control

import (
	"math/rand/v2"
	"slices"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/proxy"
)

const (
	// rebalanceEvery is the shortest time between two looks at how connections are spread.
	rebalanceEvery = 100 * time.Millisecond
	// rebalanceQuiet is how long a connection must have been idle to be closed: its client is
	// between two requests, not within one.
	rebalanceQuiet = time.Second
	// rebalanceSlack is by how much, as a divisor, a backend may exceed its share.
	rebalanceSlack = 10
)

// rebalancer closes long idle connections of backends that have more than their share of them, at a
// bounded rate, so that their clients come back and are spread again. After a backend has come back
// or was added, nothing else would do that.
type rebalancer struct {
	Rebalance
	watch *Watch
	timer *time.Timer
	every time.Duration
	due   float64 // connections that may be closed by now
}

// start prepares the timer. It stays off until configure turns it on.
func (r *rebalancer) start(w *Watch) {
	r.watch = w
	r.timer = time.NewTimer(time.Hour)
	r.timer.Stop()
}

func (r *rebalancer) stop() { r.timer.Stop() }

func (r *rebalancer) configure(how Rebalance) {
	if r.Rebalance == how {
		return
	}
	r.Rebalance = how
	r.timer.Stop()
	if how.Rate > 0 {
		r.every = max(rebalanceEvery, time.Duration(float64(time.Second)/how.Rate))
		r.timer.Reset(r.every)
	}
}

// step closes as many connections of the fullest backend as are due and exceed its share.
func (r *rebalancer) step() {
	r.due = min(r.due+r.Rate*r.every.Seconds(), max(1, r.Rate)) // what was missed is made up for, up to a second's worth
	r.close()
	jitter := (2*rand.Float64() - 1) * r.Jitter
	r.timer.Reset(time.Duration(float64(r.every) * (1 + jitter)))
}

func (r *rebalancer) close() {
	b, excess := fullest(r.watch.balancer.Shares())
	n := min(excess, int(r.due))
	if n <= 0 {
		return
	}
	idle := r.watch.plane.Idle(b, rebalanceQuiet, n)
	slices.SortFunc(idle, func(a, b proxy.IdleConn) int { return int(a.Since - b.Since) })
	n = min(n, len(idle))
	for _, i := range idle[:n] {
		r.watch.plane.EndIdle(i, proxy.ReasonRebalanced)
	}
	r.due -= float64(n)
	if n > 0 {
		r.watch.log.Debug("closing idle connections to rebalance", "backend", b.Address, "connections", n, "excess", excess)
	}
}

// fullest returns the backend that exceeds its share by the most connections, and by how many; 0
// when the spread is fair.
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
