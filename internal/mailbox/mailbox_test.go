package mailbox

import (
	"sync"
	"sync/atomic"
	"testing"
)

// A value may be posted while the box is being emptied: it is taken then or the next time, once, in
// its sender's order; and a sender that finds the box empty learns it.
func TestBox(t *testing.T) {
	type value struct{ sender, number int }
	const senders, each = 4, 5000
	var box Box[value]
	var wakes atomic.Int64
	wake := make(chan struct{}, senders*each)
	var wg sync.WaitGroup
	for sender := range senders {
		wg.Go(func() {
			for number := range each {
				if box.Post(value{sender, number}) {
					wakes.Add(1)
					wake <- struct{}{}
				}
			}
		})
	}
	var next [senders]int
	for taken := 0; taken < senders*each; {
		<-wake // the reader sleeps until it is woken: a missing wake hangs the test
		box.TakeAll(func(v value) {
			if v.number != next[v.sender] {
				t.Errorf("sender %d: value %d in place of %d", v.sender, v.number, next[v.sender])
			}
			next[v.sender] = v.number + 1
			taken++
		})
	}
	wg.Wait()
	box.TakeAll(func(v value) { t.Errorf("one more: %v", v) })
	if n := wakes.Load(); n < 1 || n > senders*each {
		t.Errorf("%d wakes for %d values", n, senders*each)
	}
}

// What is posted while values are read comes with the next reading: the reader's other work has its
// turn.
func TestPostWhileReading(t *testing.T) {
	var box Box[int]
	box.Post(1)
	var got []int
	box.TakeAll(func(m int) {
		got = append(got, m)
		if !box.Post(2) {
			t.Error("the box was emptied, and post does not say so")
		}
	})
	if len(got) != 1 {
		t.Fatalf("read %v at once", got)
	}
	box.TakeAll(func(m int) { got = append(got, m) })
	if len(got) != 2 || got[1] != 2 {
		t.Fatalf("read %v", got)
	}
}
