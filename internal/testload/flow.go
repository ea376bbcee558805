package testload

import (
	"math"
	"sync"
	"time"

	"l4proxy/internal/testnet"
)

// flow is a long connection.
type flow struct {
	name   string
	number int
	run    func(*flow) error
	ready  func() // called when the flow has carried its first bytes both ways, or has failed

	mu       sync.Mutex
	sent     int64
	received int64
	since    time.Time     // while bytes are under way: their last progress
	stall    time.Duration // the longest wait for progress
}

func (l *Load) addFlow(name string, run func(*flow) error) {
	l.flows = append(l.flows, &flow{name: name, number: len(l.flows), run: run})
}

func (l *Load) runFlow(f *flow) {
	defer l.alive.Add(-1)
	defer f.ready()
	if err := f.run(f); err != nil {
		l.fail(f.name, err)
	}
}

// sending notes that n bytes are about to be sent.
func (f *flow) sending(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sent == f.received {
		f.since = time.Now()
	}
	f.sent += int64(n)
}

// receiving notes that n bytes have arrived. The time since the last progress is a wait, unless
// nothing was under way.
func (f *flow) receiving(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.stall = max(f.stall, now.Sub(f.since))
	f.received += int64(n)
	f.since = now
}

// paused notes that the receiver has read nothing on purpose.
func (f *flow) paused() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.since = time.Now()
}

// total returns how many bytes have been sent.
func (f *flow) total() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent
}

// open connects f and sends the header.
func (l *Load) open(f *flow, k kind) (testnet.Conn, testnet.Stream, error) {
	c, err := l.dial(f.number)
	if err != nil {
		return nil, 0, err
	}
	h := header{kind: k, stream: l.nextStream()}
	if err := write(c, h.bytes(), l.spec.Patience); err != nil {
		c.Close()
		return nil, 0, err
	}
	return c, h.stream, nil
}

// blockSizes are used in turn.
var blockSizes = []int{1, 64, 1000, 4096, 20_000}

// exchange sends a block, waits for its echo, and sends the next one when it is due.
func (l *Load) exchange(f *flow) error {
	c, s, err := l.open(f, exchange)
	if err != nil {
		return err
	}
	defer c.Close()
	echo := newChecker(c, s)
	// The golden ratio spreads the flows evenly over the interval, however many there are.
	_, phase := math.Modf(float64(f.number) * (math.Phi - 1))
	due := time.Now().Add(time.Duration(phase * float64(l.spec.Interval)))
	for i := f.number; ; i++ {
		size := blockSizes[i%len(blockSizes)]
		f.sending(size)
		if err := write(c, s.Piece(echo.offset, size), l.spec.Patience); err != nil {
			return err
		}
		if err := echo.exactly(size, l.spec.Patience); err != nil {
			return err
		}
		f.receiving(size)
		f.ready()
		if !l.rest(due) {
			break
		}
		due = l.next(due)
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	return echo.end(l.spec.Patience)
}

// next returns when the block after the one at due is due. A flow that is late skips blocks.
func (l *Load) next(due time.Time) time.Time {
	if due = due.Add(l.spec.Interval); due.Before(time.Now()) {
		return time.Now()
	}
	return due
}
