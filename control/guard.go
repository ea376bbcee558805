package control

import (
	"slices"
	"time"

	"l4proxy/discovery"
)

// Guard limits what SetEndpoints may remove. A name server that has lost its data, or a controller
// that sees only a part of its servers, gives short answers: they look like any other.
type Guard struct {
	// MaxRemoved is the largest share of a pool's backends, in percent, that may be lost within
	// Hold.
	MaxRemoved int
	// Hold is how long a larger loss is held back. If it was an error, it is over by then, or an
	// operator has read the log.
	Hold time.Duration
}

// refuses reports whether a pool may not shrink from one number of backends to another. Only the
// number counts: a pool whose servers all move to other addresses serves as before.
func (g Guard) refuses(from, to int) bool { return (from-to)*100 > g.MaxRemoved*from }

// sourceState is what is known of a source of endpoints.
type sourceState struct {
	// generation is that of the latest update; 0 is before the first.
	generation uint64
	// wanted are its endpoints. They are those in use, unless removals are held back.
	wanted []discovery.Endpoint
	held   bool
	since  int64 // when that began
	// refused are the endpoints that are this proxy itself.
	refused []string
}

// peak is the most backends that a pool had lately. Many small losses in a row must not get past
// the Guard.
type peak struct {
	size int
	at   int64 // when the pool last had that many
}

func (p peak) after(size int, now int64, hold time.Duration) peak {
	if size >= p.size || now-p.at > int64(hold) {
		return peak{size, now}
	}
	return p
}

// admit returns the endpoints that the entry i of a pool has after an update that wants others, and
// what is known of the source then. While removals are held back, new endpoints are used beside the
// old ones.
func (p *livePool) admit(i int, s sourceState, force bool, now int64) ([]discovery.Endpoint, sourceState) {
	trial := p.plan
	trial.Entries = slices.Clone(trial.Entries)
	trial.Entries[i].Endpoints = s.wanted
	trial.Checks = nil
	trial.expand()
	switch {
	case force || !p.plan.Guard.refuses(p.peak.size, len(trial.Members)):
		s.held = false
	case !s.held:
		s.held, s.since = true, now
	case now-s.since >= int64(p.plan.Guard.Hold):
		s.held = false
	}
	if !s.held {
		return s.wanted, s
	}
	both := slices.Clone(s.wanted)
	for _, e := range p.plan.Entries[i].Endpoints {
		if !slices.ContainsFunc(both, func(b discovery.Endpoint) bool { return b.IP == e.IP && b.Port == e.Port }) {
			both = append(both, e)
		}
	}
	slices.SortFunc(both, discovery.Compare)
	return both, s
}
