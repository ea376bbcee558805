package backend

import "slices"

// Saved is what another process needs to know of a backend to carry on with it. Its JSON form is
// part of the hand-over format (docs/handover.md). Times are of CLOCK_MONOTONIC, which all
// processes of a machine share.
type Saved struct {
	Health       string `json:"health,omitempty"`
	Total        uint64 `json:"total,omitempty"`
	DialsOK      uint64 `json:"dials_ok,omitempty"`
	DialsFailed  uint64 `json:"dials_failed,omitempty"`
	Failures     int    `json:"failures,omitempty"` // failed dials in a row; not 0 in backoff
	BackoffUntil int64  `json:"backoff_until,omitempty"`
	EjectedUntil int64  `json:"ejected_until,omitempty"`
	Ejections    int    `json:"ejections,omitempty"`
	BackoffSince int64  `json:"backoff_since,omitempty"`
	EjectedSince int64  `json:"ejected_since,omitempty"`
	DialError    uint32 `json:"dial_error,omitempty"` // an errno
	// Failed are the dials that failed, by the words of DialFailure.
	Failed map[string]uint64 `json:"failed,omitempty"`
}

// Save writes the state down. A probe that is under way counts as ended without a result.
func (b *Backend) Save() Saved {
	s := Saved{
		Health: b.Health().String(), Total: b.Total(), Failures: b.Failures(),
		EjectedUntil: b.EjectedUntil(), Ejections: b.Ejections(),
		BackoffSince: b.BackoffSince(), EjectedSince: b.EjectedSince(), DialError: uint32(b.DialError()),
	}
	s.DialsOK, s.DialsFailed = b.Dials()
	s.Failed = b.saveFailed()
	if !b.Probing() {
		s.BackoffUntil = b.BackoffUntil()
	}
	return s
}

// Load gives a backend that is not used yet what another process has saved. It is called under the
// lock of the pool's balancer, which acts on it. Nothing is believed that could keep the backend
// away for longer than this process would itself.
func (b *Backend) Load(s Saved, now, longestEjection int64) {
	if h := slices.Index(healthNames[:], s.Health); h >= 0 {
		b.SetHealth(Health(h))
	}
	b.total.Add(s.Total)
	b.dialsOK.Add(s.DialsOK)
	b.dialsFailed.Add(s.DialsFailed)
	b.loadFailed(s.Failed)
	b.trouble.backoffSince.Store(min(s.BackoffSince, now))
	b.trouble.ejectedSince.Store(min(s.EjectedSince, now))
	b.trouble.dialError.Store(s.DialError)
	if s.Failures > 0 {
		b.backoff.failures.Store(int32(min(s.Failures, 1<<20)))
		b.backoff.until.Store(min(s.BackoffUntil, now+int64(MaxBackoff)))
	}
	if s.EjectedUntil > now && longestEjection > 0 {
		b.Eject(min(s.EjectedUntil, now+longestEjection), max(s.Ejections, 1))
	}
}
