package proxy

import (
	"math"
	"sync/atomic"
)

// Slots counts connections and limits their number. It is live: it outlives the configuration that
// set its limit. Any goroutine may use it.
type Slots struct {
	limit atomic.Int64 // 0: no limit
	used  atomic.Int64
}

// NewSlots returns slots for at most limit connections; 0 means no limit.
func NewSlots(limit int64) *Slots {
	s := new(Slots)
	s.SetLimit(limit)
	return s
}

// SetLimit changes the limit; 0 means no limit. Connections beyond a lower limit stay, each with
// its one slot.
func (s *Slots) SetLimit(limit int64) { s.limit.Store(limit) }

// Limit is the most connections at once; 0 means no limit.
func (s *Slots) Limit() int64 { return s.limit.Load() }

// Used is the number of slots taken.
func (s *Slots) Used() int64 { return s.used.Load() }

// Full reports whether no slot is free.
func (s *Slots) Full() bool { return s.room() == 0 }

// room is the number of free slots.
func (s *Slots) room() int {
	limit := s.Limit()
	if limit == 0 {
		return math.MaxInt
	}
	return int(max(0, limit-s.Used()))
}

// take takes a slot. It returns how many are taken now, and whether that is within the limit. Each
// take needs a give, even one beyond the limit.
func (s *Slots) take() (used int64, ok bool) {
	used = s.used.Add(1)
	limit := s.Limit()
	return used, limit == 0 || used <= limit
}

// give releases a slot and returns how many are taken now.
func (s *Slots) give() (used int64) { return s.used.Add(-1) }

// reservePart: one part in this many of max_connections is reserved for listeners, in equal shares.
const reservePart = 4

// slots are the connection slots of the process. If it has several listeners, there are two parts:
// a share reserved for each listener, and the common slots. Without shares, one listener could take
// all slots and block all others. For example, its connections may come back to it through another
// proxy, each of them causing the next. The proxy cannot detect such a loop: all of these
// connections look like ordinary clients.
//
// A listener's first slots come from its share, and the rest from the common slots.
type slots struct {
	all    Slots
	share  int64 // reserved for each listener; 0: none
	common Slots
}

// reserve sets the limit for all connections and divides it among the listeners.
func (s *slots) reserve(limit int64, listeners int) {
	s.all.SetLimit(limit)
	if n := int64(listeners); limit > 0 && n > 1 {
		s.share = limit / (reservePart * n)
		s.common.SetLimit(limit - n*s.share)
	}
}

// take takes a slot of both the process and the listener, or no slot. A listener takes as many
// common slots as it holds slots beyond its share, in whatever order the loops count.
func (s *slots) take(l *Slots) bool {
	used, ok := s.share+1, true
	if l != nil {
		used, ok = l.take()
	}
	if s.share > 0 && used > s.share {
		_, within := s.common.take()
		ok = ok && within
	}
	_, within := s.all.take()
	if !ok || !within {
		s.give(l)
		return false
	}
	return true
}

// give releases what take has taken.
func (s *slots) give(l *Slots) {
	s.all.give()
	left := s.share
	if l != nil {
		left = l.give()
	}
	if s.share > 0 && left >= s.share {
		s.common.give()
	}
}

// room is the number of free slots for further connections of a listener.
func (s *slots) room(l *Slots) int {
	room, reserved := s.all.room(), int64(0)
	if l != nil {
		room, reserved = min(room, l.room()), max(0, s.share-l.Used())
	}
	if s.share > 0 {
		room = min(room, s.common.room()+int(reserved))
	}
	return room
}
