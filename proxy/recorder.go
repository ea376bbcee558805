package proxy

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
)

// recorderPause lets records gather, so that the recorder wakes at most 100 times a second.
const recorderPause = 10 * time.Millisecond

// runRecorder passes records to Finished until done is closed, and then those that are left.
func (s *Server) runRecorder(done <-chan struct{}) {
	pause, later := time.NewTimer(0), time.NewTimer(0)
	defer pause.Stop()
	defer later.Stop()
	var losses lossLog
	for {
		for s.drainRecords() {
		}
		later.Reset(losses.report(s, eventloop.Clock()))
		s.asleep.Store(true)
		if s.drainRecords() { // published between the look above and falling asleep
			continue
		}
		select {
		case <-s.wake:
		case <-later.C:
			continue
		case <-done:
			for s.drainRecords() {
			}
			losses.next = 0
			losses.report(s, eventloop.Clock())
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

func (s *Server) drainRecords() (any bool) {
	for _, w := range s.workers {
		any = w.records.drain(s.finished) || any
	}
	return any
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

// lossLog logs how many records were lost.
type lossLog struct {
	next int64 // loop clock; no line before that time
	told uint64
}

// report writes a line if one is due, and returns after how long to call it again.
func (l *lossLog) report(s *Server, now int64) time.Duration {
	lost := s.Dropped()
	if lost > l.told && now >= l.next {
		s.log.Warn("log lines dropped: connections end faster than they are logged", "count", lost-l.told)
		l.told, l.next = lost, now+int64(limitEvery)
	}
	if lost > l.told {
		return time.Duration(l.next - now)
	}
	return limitEvery
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
	now := eventloop.Clock()
	next := l.next.Load()
	return now >= next && l.next.CompareAndSwap(next, now+int64(limitEvery))
}

// dialShort notes that a dial for a client of l has to wait for a descriptor, and all new clients with it.
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
