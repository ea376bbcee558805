package proxy

import "slices"

// SavedCounts are the counters of a Server on their way to the next process, by names: another
// version may number reasons differently. The JSON form is part of the hand-over format: fields are
// added, never renamed.
type SavedCounts struct {
	Listeners map[string]SavedListenerCounts `json:"listeners"`
	// Pools are dials by pool and result; "none" is a dial that was answered.
	Pools map[string]map[string]uint64 `json:"pools"`
}

// SavedListenerCounts are those of one listener.
type SavedListenerCounts struct {
	Accepted uint64 `json:"accepted"`
	BytesIn  uint64 `json:"bytes_in"`
	BytesOut uint64 `json:"bytes_out"`
	// Ended are the connections that have ended, by side and reason.
	Ended map[string]map[string]uint64 `json:"ended"`
}

// SaveCounts writes the counters down.
func (s *Server) SaveCounts() SavedCounts {
	saved := SavedCounts{Listeners: make(map[string]SavedListenerCounts), Pools: make(map[string]map[string]uint64)}
	counts := s.Counts()
	for i := range counts.Listeners {
		c := &counts.Listeners[i]
		one := SavedListenerCounts{Accepted: c.Accepted, BytesIn: c.BytesIn, BytesOut: c.BytesOut, Ended: make(map[string]map[string]uint64)}
		for side := range c.ended {
			for reason, n := range c.ended[side] {
				if n > 0 {
					addTo(one.Ended, Side(side).String(), Reason(reason).String(), n)
				}
			}
		}
		saved.Listeners[c.Listener.Name] = one
	}
	for i := range counts.Pools {
		c := &counts.Pools[i]
		for reason, n := range c.dials {
			if n > 0 {
				addTo(saved.Pools, c.Pool.Name, Reason(reason).String(), n)
			}
		}
	}
	return saved
}

func addTo(m map[string]map[string]uint64, a, b string, n uint64) {
	if m[a] == nil {
		m[a] = make(map[string]uint64)
	}
	m[a][b] += n
}

// AddCounts adds what the processes before this one have counted. The last call counts.
func (s *Server) AddCounts(saved SavedCounts) { s.earlier.Store(&saved) }

// withEarlier adds what AddCounts was given. Connections that were open in the earlier process count
// as moved: those that came here are counted as adopted. Listeners and pools that the State does not
// have any more are not shown.
func (c Counts) withEarlier(saved *SavedCounts) Counts {
	if saved == nil {
		return c
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		of := saved.Listeners[l.Listener.Name]
		l.Accepted += of.Accepted
		l.BytesIn += of.BytesIn
		l.BytesOut += of.BytesOut
		ended := uint64(0)
		for side, reasons := range of.Ended {
			for reason, n := range reasons {
				if s := slices.Index(sideNames[:], side); s >= 0 {
					l.ended[s][reasonNamed(reason)] += n
					ended += n
				}
			}
		}
		l.Moved += max(of.Accepted, ended) - ended
	}
	for i := range c.Pools {
		for reason, n := range saved.Pools[c.Pools[i].Pool.Name] {
			c.Pools[i].dials[reasonNamed(reason)] += n
		}
	}
	return c
}
