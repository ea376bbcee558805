package proxy

import "sync/atomic"

// A flood of clients that are denied must cost little, and must not fill the disk with lines about
// them: each loop makes records of them at no more than a rate. The others are counted.

// deniedRecords is the rate for all loops.
type deniedRecords struct {
	every atomic.Int64 // ns between two records of a loop; 0: no limit
}

// SetDeniedRecords limits the records of denied clients (see [Reason.Denied]) to a number per
// second, with bursts of the same number; 0 means no limit. Each loop has an equal share.
func (s *Server) SetDeniedRecords(perSecond float64) {
	every := int64(0)
	if perSecond > 0 {
		every = max(1, int64(1e9*float64(len(s.workers))/perSecond))
	}
	s.deniedRecords.every.Store(every)
}

// withhold reports whether there is to be no record of a denied client, and counts it.
func (w *worker) withhold(now int64) bool {
	every := w.server.deniedRecords.every.Load()
	if every == 0 {
		return false
	}
	// The generic cell rate algorithm (ITU-T I.371): a record moves the time on, which may be one
	// second ahead.
	at := max(w.nextDenied, now)
	if at-now > max(1e9-every, 0) {
		w.withheld.add(1)
		if w.server.limits.denied.due() {
			w.server.log.Warn("log.denied reached: further denied clients are only counted", "left_out", w.server.Withheld())
		}
		return true
	}
	w.nextDenied = at + every
	return false
}

// Withheld is the number of denied clients that have no record; see SetDeniedRecords.
func (s *Server) Withheld() (n uint64) {
	for _, w := range s.workers {
		n += w.withheld.get()
	}
	return n
}
