package control

import (
	"container/heap"
	"time"
)

// simLoop is time in a simulation: it goes from event to event, and those of one moment happen in
// the order in which they were asked for.
type simLoop struct {
	now    int64
	asked  uint64
	events simEvents
}

type simEvent struct {
	at    int64
	order uint64
	do    func()
}

// at has something done at a time, or now if that is over.
func (l *simLoop) at(at int64, do func()) {
	l.asked++
	heap.Push(&l.events, &simEvent{max(at, l.now), l.asked, do})
}

func (l *simLoop) after(d time.Duration, do func()) { l.at(l.now+int64(d), do) }

// step moves to the next event. There must be one.
func (l *simLoop) step() {
	e := heap.Pop(&l.events).(*simEvent)
	l.now = e.at
	e.do()
}

// simEvents is a [heap.Interface].
type simEvents []*simEvent

func (e simEvents) Len() int      { return len(e) }
func (e simEvents) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e simEvents) Less(i, j int) bool {
	if e[i].at != e[j].at {
		return e[i].at < e[j].at
	}
	return e[i].order < e[j].order
}

func (e *simEvents) Push(x any) { *e = append(*e, x.(*simEvent)) }

func (e *simEvents) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}
