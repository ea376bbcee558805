package proxy

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// recorderPause lets records gather, so that the recorder wakes at most 100 times a second.
const recorderPause = 10 * time.Millisecond

// runRecorder passes records to Finished until done is closed, and then those that are left.
func (s *Server) runRecorder(done <-chan struct{}) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		for s.drainRecords() {
		}
		s.asleep.Store(true)
		if s.drainRecords() { // published between the look above and falling asleep
			continue
		}
		select {
		case <-s.wake:
		case <-done:
			for s.drainRecords() {
			}
			return
		}
		pause.Reset(recorderPause)
		s.pausing.Store(true)
		select {
		case <-pause.C:
		case <-s.wake: // a ring is half full
		case <-done:
		}
		s.pausing.Store(false)
	}
}

// drainRecords passes on the records of all rings, and after those of a ring how many it has lost.
// It reports whether there was anything.
func (s *Server) drainRecords() (anything bool) {
	for _, w := range s.workers {
		anything = w.records.drain(s.finished, s.lost) || anything
	}
	return anything
}

// wakeRecorder is called by loops.
func (s *Server) wakeRecorder(urgent bool) {
	if s.asleep.Load() && s.asleep.CompareAndSwap(true, false) ||
		urgent && s.pausing.Load() && s.pausing.CompareAndSwap(true, false) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// waitLog keeps the log line about a reached limit from being written for every client.
type waitLog struct {
	next  atomic.Int64 // loop clock
	count atomic.Uint64
}

// limitEvery is how often a limit that stays reached is logged.
const limitEvery = 10 * time.Second

// due counts, and reports whether it is time for a line.
func (l *waitLog) due() bool {
	l.count.Add(1)
	now := rawsys.Monotonic()
	next := l.next.Load()
	return now >= next && l.next.CompareAndSwap(next, now+int64(limitEvery))
}

// dialShort notes that a dial for a client of l has to wait for a descriptor, and all new clients
// with it.
func (s *Server) dialShort(l *Listener) {
	if s.shortage.due() {
		s.log.Warn("cannot dial: out of file descriptors or memory; clients wait until there are some", "listener", l.Name)
	}
}

// acceptFailed notes that a client of l could not be accepted.
func (s *Server) acceptFailed(l *Listener, errno unix.Errno) {
	if s.accepting.due() {
		s.log.Warn("cannot accept: out of file descriptors or memory; clients wait until there are some",
			"listener", l.Name, "error", errno.Error())
	}
}

// limitReached notes that new clients of l have to wait for a place.
func (s *Server) limitReached(l *Listener) {
	if !s.waits.due() {
		return
	}
	if l.Slots != nil && l.Slots.Full() {
		s.log.Warn("max_connections of the listener is reached: new clients wait until others have left",
			"listener", l.Name, "limit", l.Slots.Limit())
		return
	}
	if !s.slots.all.Full() {
		s.log.Warn("max_connections is reached except for slots reserved for other listeners: new clients wait until others have left",
			"listener", l.Name, "limit", s.slots.all.Limit())
		return
	}
	s.log.Warn("max_connections is reached: new clients wait until others have left", "limit", s.slots.all.Limit())
}
