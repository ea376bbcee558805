package events

import (
	"sync"
	"time"
)

// Event is something that has changed in the proxy.
type Event struct {
	// ID increases by one with each event. Those of a later process are greater, so that a reader
	// can continue after a restart or an upgrade.
	ID      uint64
	Time    time.Time
	Level   string // "info", "warn" or "error"
	Type    string // see TypeOf
	Message string

	Listener, Pool, Backend string
	// Details are the other attributes: strings, numbers, booleans, and lists and maps of them.
	Details map[string]any
}

// Kept is how many events a Hub keeps.
const Kept = 1000

// Hub keeps the latest events. Make one with NewHub.
type Hub struct {
	mu       sync.Mutex
	ring     [Kept]Event // the event with an ID is at ID % Kept
	first    uint64      // ID of the first event ever; does not change
	next     uint64      // ID of the next one
	watchers map[chan struct{}]struct{}
}

// NewHub returns a Hub without events. IDs count from the time in microseconds, which a process
// that published fewer than a million events per second has not reached. They are less than 2^53,
// so that JavaScript can read them.
func NewHub(now time.Time) *Hub {
	first := uint64(max(now.UnixMicro(), 1))
	return &Hub{first: first, next: first, watchers: make(map[chan struct{}]struct{})}
}

// First is the ID of the first event that this Hub has given, or will give.
func (h *Hub) First() uint64 { return h.first }

// Oldest is the ID of the oldest event that is kept, or of the first one to come.
func (h *Hub) Oldest() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.oldest()
}

func (h *Hub) oldest() uint64 {
	if h.next-h.first > Kept {
		return h.next - Kept
	}
	return h.first
}

// Publish adds an event, and sets its ID. It waits for nothing but a short lock.
func (h *Hub) Publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e.ID = h.next
	h.ring[e.ID%Kept] = e
	h.next++
	for wake := range h.watchers {
		select {
		case wake <- struct{}{}:
		default: // it has not looked yet
		}
	}
}

// After returns up to limit of the events with an ID greater than after, the oldest first, and how
// many of them have left the ring. An ID that this process has not given yet belongs to a clock
// that was wrong: it counts as 0, which is before all events.
func (h *Hub) After(after uint64, limit int) (list []Event, missed uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := h.first
	if after >= h.first && after < h.next {
		from = after + 1
	}
	oldest := h.oldest()
	// A reader that has seen none yet has missed none.
	if from < oldest && after > 0 {
		missed = oldest - from
	}
	from = max(from, oldest)
	n := min(h.next-from, uint64(max(limit, 0)))
	for id := from; id < from+n; id++ {
		list = append(list, h.ring[id%Kept])
	}
	return list, missed
}

// Watch returns a channel that receives after each Publish, once for several of them if they come
// faster than they are received. stop ends it.
func (h *Hub) Watch() (wake <-chan struct{}, stop func()) {
	woken := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[woken] = struct{}{}
	return woken, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, woken)
	}
}
