package health

// lane bounds how many checks are under way at once. Those that must wait get
// their turn fairly: groups one after another, and in a group the target that
// has waited longest. So a group whose backends all hang delays no other.
type lane struct {
	limit   int
	busy    int
	waiting []queue // targets by group
	turns   queue   // groups in which somebody waits
}

func newLane(limit, groups int) lane {
	return lane{limit: limit, waiting: make([]queue, groups)}
}

// wait puts target behind the others of its group.
func (l *lane) wait(group, target int32) {
	if l.waiting[group].len() == 0 {
		l.turns.push(group)
	}
	l.waiting[group].push(target)
}

// enter takes a place for whose turn it is, if there is one.
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

// leave gives a place back.
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
