package health

// lane bounds how many checks are under way at once. Groups take turns, and within a group the
// target that has waited longest is next. So a group whose backends all hang does not delay others.
type lane struct {
	limit   int
	busy    int
	waiting []queue // targets by group
	turns   queue   // groups with targets that wait
}

func newLane(limit, groups int) lane {
	return lane{limit: limit, waiting: make([]queue, groups)}
}

// wait queues target behind the others of its group.
func (l *lane) wait(group, target int32) {
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
