package proxy

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// A rate is over the time since an earlier look at the connection: rateWindow if there are
	// looks often enough, never less than rateLeast and never more than rateMost.
	rateWindow = time.Second
	rateLeast  = 250 * time.Millisecond
	rateMost   = 5 * time.Second
)

// rates remembers how many bytes connections had when they were last listed. Connections do not
// grow by it, and it is forgotten rateMost after the last list.
type rates struct {
	mu      sync.Mutex
	samples [][]rateSample // by worker and index
	drop    *time.Timer
}

// A rateSample is what one connection had at a time.
type rateSample struct {
	serial uint32
	known  bool // rate is set
	at     int64
	bytes  [2]uint64
	rate   [2]float32
}

// A connRate is in bytes per second.
type connRate struct {
	in, out float64
	known   bool
}

func unknownRate(r connRate) bool { return !r.known }

// note takes a look at connections, and returns their rates as far as they are known.
func (r *rates) note(rows []connRow) []connRate {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]connRate, len(rows))
	for i := range rows {
		all[i] = r.sampleOf(&rows[i]).note(&rows[i])
	}
	if len(rows) == 0 {
		return all
	}
	if r.drop == nil {
		r.drop = time.AfterFunc(rateMost, r.forget)
	} else {
		r.drop.Reset(rateMost)
	}
	return all
}

func (r *rates) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples, r.drop = nil, nil
}

// sampleOf returns the sample of a connection.
func (r *rates) sampleOf(row *connRow) *rateSample {
	w, i := int(row.worker), int(row.index)
	if w >= len(r.samples) {
		r.samples = append(r.samples, make([][]rateSample, w+1-len(r.samples))...)
	}
	if i >= len(r.samples[w]) {
		more := (i/connChunk+1)*connChunk - len(r.samples[w])
		r.samples[w] = append(r.samples[w], make([]rateSample, more)...)
	}
	return &r.samples[w][i]
}

// note compares a look at the connection with the one before.
func (s *rateSample) note(row *connRow) connRate {
	if s.serial != row.serial || row.seen-s.at >= int64(rateMost) {
		*s = rateSample{serial: row.serial, at: row.seen, bytes: row.bytes}
		if row.seen-row.accepted < int64(rateMost) { // it began with no bytes
			s.at, s.bytes = row.accepted, [2]uint64{}
		}
	}
	elapsed := row.seen - s.at
	switch {
	case row.seen-row.lastActive >= int64(rateWindow): // no byte has moved
		*s = rateSample{serial: row.serial, known: true, at: row.seen, bytes: row.bytes}
	case elapsed >= int64(rateLeast) && (elapsed >= int64(rateWindow) || !s.known):
		per := float64(time.Second) / float64(elapsed)
		for e := range s.rate {
			s.rate[e] = float32(float64(row.bytes[e]-min(s.bytes[e], row.bytes[e])) * per)
		}
		s.known, s.at, s.bytes = true, row.seen, row.bytes
	}
	return connRate{float64(s.rate[clientEnd]), float64(s.rate[backendEnd]), s.known}
}

// addRates sets the rates of the connections of a page. If one is not known, it takes a second look
// a moment later.
func (s *Server) addRates(ctx context.Context, q *ConnQuery, keys []connKey, infos []ConnInfo) error {
	for again := !q.Hurry; ; again = false {
		rows, err := s.rows(ctx, &ConnFilter{}, keys)
		if err != nil {
			return err
		}
		all := s.inspect.rates.note(rows)
		if again && slices.ContainsFunc(all, unknownRate) {
			if err := s.pause(ctx, rateLeast); err != nil {
				return err
			}
			continue
		}
		byKey := make(map[connKey]connRate, len(rows))
		for i := range rows {
			byKey[rows[i].connKey] = all[i]
		}
		for i, k := range keys {
			infos[i].RateIn, infos[i].RateOut = byKey[k].in, byKey[k].out
		}
		return nil
	}
}
