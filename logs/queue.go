package logs

import (
	"bytes"
	"sync"
	"time"
)

// keepCapacity is how large an emptied buffer may be and still be kept for the next lines: a burst
// must not keep its memory forever.
const keepCapacity = 256 << 10

// queue holds formatted lines, each with its '\n', until the writer takes them. slog's handlers
// escape a '\n' within a line, so counting them counts lines.
type queue struct {
	limit  int                       // bytes in waiting and taken together
	notice func(lines uint64) []byte // formats the line about lines dropped

	mu      sync.Mutex
	waiting []byte // lines since the last take, in order
	taken   []byte // what the writer has but did not write yet
	spare   []byte // empty; becomes waiting at the next take
	missed  uint64 // lines dropped since the last notice
	dropped uint64 // lines dropped ever
	closed  bool   // further lines are dropped
	// abandoned is true once the logger has stopped waiting for the writer.
	abandoned bool
	stuck     bool // awaitRoom has waited and the writer has written nothing since
	// noticeTaken is true while taken is not lines but the notice.
	noticeTaken bool

	// wake has room for one token: that there is something to take.
	wake chan struct{}
	// written has room for one token: that the writer has written something.
	written chan struct{}
}

func newQueue(limit int, notice func(uint64) []byte) *queue {
	return &queue{limit: limit, notice: notice, wake: make(chan struct{}, 1), written: make(chan struct{}, 1)}
}

// Write queues one line or drops it. It never blocks and never fails: slog ignores the error, and
// the count says more.
func (q *queue) Write(line []byte) (int, error) {
	q.add(line)
	return len(line), nil
}

func (q *queue) wakeWriter() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// miss counts lines that their sender has dropped, and queues the notice about them.
func (q *queue) miss(lines uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if notice := q.notice(lines); q.fits(notice) {
		q.waiting = append(q.waiting, notice...)
		q.dropped += lines
		q.wakeWriter()
	} else {
		q.drop(lines)
	}
}

// drop counts lines, for the next notice too if there will be one.
func (q *queue) drop(lines uint64) {
	q.dropped += lines
	if !q.closed {
		q.missed += lines
	}
}

// fits reports whether a line can be queued. It cannot while a gap is open; see add.
func (q *queue) fits(line []byte) bool {
	return !q.closed && q.missed == 0 && len(q.waiting)+len(q.taken)+len(line) <= q.limit
}

// add queues a line if it fits. After the first line that does not fit, all lines are dropped until
// the queue is empty and the notice is written. So each gap has one notice, at its position.
// Otherwise an output that is a little too slow would get a notice between every few lines.
func (q *queue) add(line []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.fits(line) {
		q.drop(1)
		return
	}
	q.waiting = append(q.waiting, line...)
	q.wakeWriter()
}

// take returns all waiting lines, the notice that is due, or nil. The writer calls it after it has
// written everything that it took before.
func (q *queue) take() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case len(q.waiting) > 0:
		q.taken, q.waiting, q.spare = q.waiting, q.spare, nil
	case q.missed > 0:
		q.taken = bytes.Clone(q.notice(q.missed))
		q.missed = 0
		q.noticeTaken = true
	default:
		return nil
	}
	return q.taken
}

// wrote takes the first n bytes off what the writer took; it returns false if the queue was
// abandoned and the writer has to end.
func (q *queue) wrote(n int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.abandoned {
		return false
	}
	q.taken = q.taken[n:]
	if n > 0 {
		q.stuck = false
		select {
		case q.written <- struct{}{}:
		default:
		}
	}
	return true
}

// awaitRoom waits until the queue is no more than half full. If the writer writes nothing for
// limit, it gives up, and does not wait again until the writer has written something.
func (q *queue) awaitRoom(limit time.Duration) {
	for q.tight() {
		timer := time.NewTimer(limit)
		select {
		case <-q.written:
		case <-timer.C:
			q.mu.Lock()
			q.stuck = true
			q.mu.Unlock()
		}
		timer.Stop()
	}
}

// tight reports whether the queue is more than half full, or drops lines, and is neither stuck nor
// closed.
func (q *queue) tight() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	full := q.missed > 0 || len(q.waiting)+len(q.taken) > q.limit/2
	return full && !q.stuck && !q.closed
}

// recycle takes back the buffer that take returned, once all of it is written.
func (q *queue) recycle(buffer []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken, q.noticeTaken = nil, false
	if cap(buffer) <= keepCapacity {
		q.spare = buffer[:0]
	}
}

// close makes the queue drop every further line.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// abandon drops what is not written and returns the number of lines, including one that is written
// in part. The bytes stay unchanged: the writer may still be in its write(2).
func (q *queue) abandon() (lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines := bytes.Count(q.waiting, newline)
	if !q.noticeTaken {
		lines += bytes.Count(q.taken, newline)
	}
	q.waiting, q.taken = nil, nil
	q.abandoned = true
	q.dropped += uint64(lines)
	return uint64(lines)
}

func (q *queue) droppedLines() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

var newline = []byte{'\n'}
