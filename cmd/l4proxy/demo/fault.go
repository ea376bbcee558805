package demo

import (
	"context"
	"fmt"
	"time"
)

// Fault is what is wrong with a backend.
type Fault string

// The faults.
const (
	None Fault = "none"
	Stop Fault = "stop" // refuses connections, and has cut those that it had
	Hang Fault = "hang" // accepts connections, and sends nothing on any
	Slow Fault = "slow" // takes Delay longer for each answer
)

// Faults are all values of a Fault.
var Faults = []Fault{None, Stop, Hang, Slow}

// Delay is how long a slow backend takes for an answer.
const Delay = time.Second

// describe says what a backend does that has this fault.
func (f Fault) describe() string {
	switch f {
	case Stop:
		return "refuses connections"
	case Hang:
		return "hangs: it accepts connections and never answers"
	case Slow:
		return fmt.Sprintf("takes %v for each answer", Delay)
	}
	return "works"
}

// SetFault breaks the backend, or repairs it. A fault ends after d; 0 is never.
func (b *Backend) SetFault(f Fault, d time.Duration) { b.begin(f, d)() }

// begin is SetFault, except that a backend that stops keeps its connections until cut is called.
func (b *Backend) begin(f Fault, d time.Duration) (cut func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	cut = b.set(f)
	if d == 0 || f == None {
		return cut
	}
	changed := b.changed
	b.expiry = time.AfterFunc(d, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.changed == changed { // otherwise, another fault has replaced this one
			b.set(None)
		}
	})
	return cut
}

// set is called with mu held.
func (b *Backend) set(f Fault) (cut func()) {
	if b.expiry != nil {
		b.expiry.Stop()
		b.expiry = nil
	}
	b.fault = f
	close(b.changed)
	b.changed = make(chan struct{})
	if f == Stop {
		return b.shut()
	}
	return func() {}
}

// Fault returns what is wrong with the backend now.
func (b *Backend) Fault() Fault {
	f, _ := b.state()
	return f
}

// state returns the fault, and a channel that is closed when it is set again.
func (b *Backend) state() (Fault, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fault, b.changed
}

// pass returns when the backend may send something: at once unless it is broken. It returns false
// if ctx is done first.
func (b *Backend) pass(ctx context.Context) bool {
	delayed := false
	for {
		fault, changed := b.state()
		switch {
		case fault == Hang:
			select {
			case <-changed:
			case <-ctx.Done():
				return false
			}
		case fault == Slow && !delayed:
			delayed = true
			sleep(ctx, Delay)
		default:
			return ctx.Err() == nil
		}
	}
}
