package mailbox

import (
	"sync"
	"testing"
)

// A reader that waits for Ready gets every value, and those of one goroutine in order.
func TestInboxWakesItsReader(t *testing.T) {
	const goroutines, each = 8, 1000
	inbox := NewInbox[[2]int]()
	var senders sync.WaitGroup
	for g := range goroutines {
		senders.Go(func() {
			for i := range each {
				inbox.Post([2]int{g, i})
			}
		})
	}
	next := make([]int, goroutines)
	for got := 0; got < goroutines*each; {
		<-inbox.Ready
		for _, v := range inbox.Take() {
			if v[1] != next[v[0]] {
				t.Fatalf("value %d of goroutine %d, want %d", v[1], v[0], next[v[0]])
			}
			next[v[0]]++
			got++
		}
	}
	senders.Wait()
	if left := inbox.Take(); left != nil {
		t.Errorf("%d values are left", len(left))
	}
}
