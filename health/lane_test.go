package health

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestLaneServesGroupsInTurn(t *testing.T) {
	l := lane{limit: 2}
	for target := range int32(4) {
		l.wait(0, target)
	}
	l.wait(2, 20)
	l.wait(1, 10)
	l.wait(2, 21)
	var order []int32
	for len(order) < 7 {
		for l.busy < l.limit {
			target, ok := l.enter()
			if !ok {
				break
			}
			order = append(order, target)
		}
		if _, ok := l.enter(); ok {
			t.Fatal("entered without a place")
		}
		l.leave()
	}
	if want := []int32{0, 20, 10, 1, 21, 2, 3}; !slices.Equal(order, want) {
		t.Errorf("served %v, want %v", order, want)
	}
}

// A target that is taken out is not served, and a group without targets has no turn.
func TestLaneDrops(t *testing.T) {
	l := lane{limit: 10}
	l.drop(5, 1) // of a group that never waited
	for target := range int32(3) {
		l.wait(0, target)
	}
	l.wait(1, 10)
	l.drop(0, 1)
	l.drop(0, 7) // does not wait
	l.drop(1, 10)
	l.wait(1, 11)
	var order []int32
	for target, ok := l.enter(); ok; target, ok = l.enter() {
		order = append(order, target)
	}
	if want := []int32{0, 11, 2}; !slices.Equal(order, want) {
		t.Errorf("served %v, want %v", order, want)
	}
}

func TestQueueIsFirstInFirstOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var got queue
		var want []int32
		next := int32(0)
		for _, push := range rapid.SliceOf(rapid.Bool()).Draw(t, "push or pop") {
			if push {
				got.push(next)
				want = append(want, next)
				next++
			} else if len(want) > 0 {
				if item := got.pop(); item != want[0] {
					t.Fatalf("popped %d, want %d", item, want[0])
				}
				want = want[1:]
			}
			if got.len() != len(want) {
				t.Fatalf("%d in the queue, want %d", got.len(), len(want))
			}
		}
	})
}

func TestQueueKeepsItsMemory(t *testing.T) {
	var q queue
	for i := range int32(100) {
		q.push(i)
	}
	if n := testing.AllocsPerRun(1000, func() { q.push(q.pop()) }); n != 0 {
		t.Errorf("%v allocations for each pop and push", n)
	}
	if cap(q.items) > 400 {
		t.Errorf("a queue of 100 has room for %d", cap(q.items))
	}
}
