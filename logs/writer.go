package logs

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"
)

const (
	// gatherTime is the shortest time between two batches: the first line after a quiet moment is
	// written at once, a stream of lines a hundred times per second.
	gatherTime = 10 * time.Millisecond

	// writeSize is the most that one write(2) is given, about what a pipe holds.
	writeSize = 64 << 10

	// An output that fails is tried again after retryMin, doubling to retryMax: a disk may have
	// room again. Lines wait until then.
	retryMin = 50 * time.Millisecond
	retryMax = time.Second
)

// writer is the one goroutine that writes what the queue holds.
type writer struct {
	queue *queue
	out   io.Writer

	closeOnce sync.Once
	closing   chan struct{} // closed: write what there is, do not wait, and end
	done      chan struct{} // closed: run has ended
	lost      uint64        // what close found; valid after closeOnce
}

func newWriter(q *queue, out io.Writer) *writer {
	return &writer{
		queue:   q,
		out:     out,
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
}

func (w *writer) run() {
	defer close(w.done)
	for {
		batch := w.queue.take()
		if batch == nil {
			select {
			case <-w.queue.wake:
				continue
			case <-w.closing:
				// The queue takes no more lines, but may have taken some between the two.
				if batch = w.queue.take(); batch == nil {
					return
				}
			}
		}
		if !w.writeAll(batch) {
			return
		}
		w.queue.recycle(batch)
		w.wait(gatherTime)
	}
}

// writeAll writes batch, with retries if the output fails. It returns false if the logger ends
// first.
func (w *writer) writeAll(batch []byte) bool {
	retry := retryMin
	for len(batch) > 0 {
		n, err := w.out.Write(firstLines(batch))
		if !w.queue.wrote(n) {
			return false
		}
		batch = batch[n:]
		if err == nil {
			retry = retryMin
			continue
		}
		if !w.wait(retry) {
			return false
		}
		retry = min(2*retry, retryMax)
	}
	return true
}

// wait waits for d and reports true, or false at once when the logger ends.
func (w *writer) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.closing:
		return false
	}
}

// firstLines cuts batch after the last whole line within writeSize, so that other processes that
// share the output do not write into the middle of one.
func firstLines(batch []byte) []byte {
	if len(batch) <= writeSize {
		return batch
	}
	if end := bytes.LastIndexByte(batch[:writeSize], '\n'); end >= 0 {
		return batch[:end+1]
	}
	return batch[:writeSize]
}

// close ends the writer, no later than when ctx is done, and returns how many lines were not
// written.
func (w *writer) close(ctx context.Context) uint64 {
	w.closeOnce.Do(func() {
		w.queue.close()
		close(w.closing)
		select {
		case <-w.done:
		case <-ctx.Done():
		}
		w.lost = w.queue.abandon()
		if closer, ok := w.out.(ownFile); ok {
			// This ends a write that waits, if the runtime polls the file. An error cannot be
			// reported any more.
			_ = closer.Close()
		}
	})
	return w.lost
}
