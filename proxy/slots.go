package proxy

import (
	"math"
	"sync/atomic"
)

// Slots counts connections and limits their number. It is live: it outlives the configuration that
// set its limit. Any goroutine may use it.
type Slots struct {
	limit atomic.Int64 // 0: no limit
	// word holds two numbers: the slots taken, and in the upper half the share of a listener. So a
	// loop that takes a slot sees both as they are at that moment; see slots.
	word atomic.Int64
}

const (
	shareShift = 32
	maxShare   = math.MaxInt32
)

// split returns the two numbers in a word. used may be negative for a moment: a loop may count the
// release of a common slot before another loop has counted its taking.
func split(word int64) (share, used int64) {
	used = int64(int32(word))
	return (word - used) >> shareShift, used
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
func (s *Slots) Used() int64 {
	_, used := split(s.word.Load())
	return used
}

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

// take takes a slot. It reports whether that is within the limit, and within the share. Each take
// needs a give, even one beyond the limit.
func (s *Slots) take() (within, fromShare bool) {
	share, used := split(s.word.Add(1))
	limit := s.Limit()
	return limit == 0 || used <= limit, used <= share
}

// give releases a slot. It reports whether that slot was one of the share.
func (s *Slots) give() (toShare bool) {
	share, used := split(s.word.Add(-1))
	return used < share
}

// setShare changes the share. It returns by how much the number of slots beyond the share has
// changed.
func (s *Slots) setShare(share int64) (beyond int64) {
	for {
		word := s.word.Load()
		before, used := split(word)
		if s.word.CompareAndSwap(word, share<<shareShift+used) {
			return max(0, used-share) - max(0, used-before)
		}
	}
}

// reservePart: one part in this many of max_connections is reserved for listeners, in equal shares.
const reservePart = 4

// slots are the connection slots of the process. If it has several listeners, there are two parts:
// a share reserved for each listener, and the common slots. Without shares, one listener could take
// all slots and block all others. For example, its connections may come back to it through another
// proxy, each of them causing the next. The proxy cannot detect such a loop: all of these
// connections look like ordinary clients.
//
// A listener's first slots come from its share, and the rest from the common slots. So the common
// slots that are taken are the sum of what listeners hold beyond their shares. Share and count of a
// listener change together, in one word, and each change of the word changes the common slots by
// the difference that it makes. Therefore this holds in whatever order the loops count, also while
// the shares change.
//
// The only listener has all slots as its share, and the common slots are never touched.
type slots struct {
	all    Slots
	common Slots
}

// divide sets the limit for all connections and divides it among the listeners. Those that are
// gone lose their share: their connections hold common slots from now on.
func (s *slots) divide(limit int64, listeners, gone []*Listener) {
	share, common := int64(maxShare), limit
	if n := int64(len(listeners)); limit > 0 && n > 1 {
		share = min(limit/(reservePart*n), maxShare)
		common = limit - n*share
	}
	stays := make(map[*Slots]bool, len(listeners))
	for _, l := range listeners {
		if l.Slots != nil {
			stays[l.Slots] = true
			s.common.word.Add(l.Slots.setShare(share))
		}
	}
	for _, l := range gone {
		if l.Slots != nil && !stays[l.Slots] {
			s.common.word.Add(l.Slots.setShare(0))
		}
	}
	s.common.SetLimit(common)
	s.all.SetLimit(limit)
}

// take takes a slot of both the process and the listener, or no slot.
func (s *slots) take(l *Slots) bool {
	ok, fromShare := true, false
	if l != nil {
		ok, fromShare = l.take()
	}
	if !fromShare {
		within, _ := s.common.take()
		ok = ok && within
	}
	within, _ := s.all.take()
	if !ok || !within {
		s.give(l)
		return false
	}
	return true
}

// takeAnyway takes a slot of both, even beyond their limits: for a connection that exists already.
func (s *slots) takeAnyway(l *Slots) {
	fromShare := false
	if l != nil {
		_, fromShare = l.take()
	}
	if !fromShare {
		s.common.take()
	}
	s.all.take()
}

// give releases what take has taken.
func (s *slots) give(l *Slots) {
	s.all.give()
	if l == nil || !l.give() {
		s.common.give()
	}
}

// room is the number of free slots for further connections of a listener.
func (s *slots) room(l *Slots) int {
	room := s.all.room()
	if l == nil {
		return min(room, s.common.room())
	}
	share, used := split(l.word.Load())
	reserved := int(max(0, share-used))
	return min(room, l.room(), min(room-reserved, s.common.room())+reserved)
}
