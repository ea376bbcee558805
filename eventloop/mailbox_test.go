package eventloop

import (
	"sync"
	"sync/atomic"
	"testing"
)

// A value may be posted while the box is being emptied: it is taken then or the next time, once, in its sender's order;
// and whoever finds the box empty is told so, for the loop may be about to sleep.
func TestMailbox(t *testing.T) {
	type value struct{ sender, number int }
	const senders, each = 4, 5000
	var box mailbox
	var wakes atomic.Int64
	wake := make(chan struct{}, senders*each)
	var wg sync.WaitGroup
	for sender := range senders {
		wg.Go(func() {
			for number := range each {
				if box.post(value{sender, number}) {
					wakes.Add(1)
					wake <- struct{}{}
				}
			}
		})
	}
	var next [senders]int
	for taken := 0; taken < senders*each; {
		<-wake // a reader that sleeps unless told: a wake that is missing hangs the test
		box.takeAll(func(m any) {
			v := m.(value)
			if v.number != next[v.sender] {
				t.Errorf("sender %d: value %d in place of %d", v.sender, v.number, next[v.sender])
			}
			next[v.sender] = v.number + 1
			taken++
		})
	}
	wg.Wait()
	box.takeAll(func(m any) { t.Errorf("one more: %v", m) })
	if n := wakes.Load(); n < 1 || n > senders*each {
		t.Errorf("%d wakes for %d values", n, senders*each)
	}
}

// What is posted while values are read comes with the next reading: the loop's other work has its turn.
func TestMailboxPostWhileReading(t *testing.T) {
	var box mailbox
	box.post(1)
	var got []any
	box.takeAll(func(m any) {
		got = append(got, m)
		if !box.post(2) {
			t.Error("the box was emptied, and post does not say so")
		}
	})
	if len(got) != 1 {
		t.Fatalf("read %v at once", got)
	}
	box.takeAll(func(m any) { got = append(got, m) })
	if len(got) != 2 || got[1] != 2 {
		t.Fatalf("read %v", got)
	}
}
