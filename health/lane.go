package health

import "slices"

// lane bounds how many checks are under way at once. Groups take turns, and within a group the
// target that has waited longest is next. So a group whose backends all hang does not delay others.
type lane struct {
	limit   int
	busy    int
	waiting []queue // targets by group
	turns   queue   // groups with targets that wait
}

// wait queues target behind the others of its group.
func (l *lane) wait(group, target int32) {
	for int(group) >= len(l.waiting) {
		l.waiting = append(l.waiting, queue{})
	}
	if l.waiting[group].len() == 0 {
		l.turns.push(group)
	}
	l.waiting[group].push(target)
}

// enter returns the next target if the lane has a free slot, and occupies the slot.
func (l *lane) enter() (target int32, ok bool) {
	if l.busy >= l.limit || l.turns.len() == 0 {
		return 0, false
	}
	group := l.turns.pop()
	target = l.waiting[group].pop()
	if l.waiting[group].len() > 0 {
		l.turns.push(group)
	}
	l.busy++
	return target, true
}

// leave frees a slot.
func (l *lane) leave() { l.busy-- }

// drop takes target out, if it waits.
func (l *lane) drop(group, target int32) {
	if int(group) >= len(l.waiting) || !l.waiting[group].drop(target) {
		return
	}
	if l.waiting[group].len() == 0 {
		l.turns.drop(group)
	}
}

// queue is first in, first out, and keeps its memory.
type queue struct {
	items []int32
	head  int
}

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(item int32) {
	if q.head > len(q.items)/2 {
		q.items = append(q.items[:0], q.items[q.head:]...)
		q.head = 0
	}
	q.items = append(q.items, item)
}

func (q *queue) pop() int32 {
	q.head++
	return q.items[q.head-1]
}

// drop takes item out, and reports whether it was there.
func (q *queue) drop(item int32) bool {
	i := slices.Index(q.items[q.head:], item)
	if i < 0 {
		return false
	}
	q.items = slices.Delete(q.items, q.head+i, q.head+i+1)
	return true
}
