package proxy

import "time"

// recorderPause lets records gather, so that the recorder wakes at most 100 times a second.
const recorderPause = 10 * time.Millisecond

// runRecorder passes records to Finished, and steps to Step, until done is closed, and then those
// that are left.
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

// drainRecords passes on the records and steps of all rings, and after those of a ring how many it
// has lost. The steps of a connection come before its record. It reports whether there was
// anything.
func (s *Server) drainRecords() (anything bool) {
	for _, w := range s.workers {
		ended := w.records.published.Load()
		anything = w.steps.drain(w.steps.published.Load(), s.step, s.lost) || anything
		anything = w.records.drain(ended, s.finished, s.lost) || anything
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
