package health

// agenda is when something is to be done about which target: a binary heap in
// which each target stands at most once, and can be moved.
type agenda struct {
	heap  []appointment
	place []int32 // where in heap a target stands; -1: nowhere
}

type appointment struct {
	at     int64
	target int32
}

func newAgenda(targets int) agenda {
	a := agenda{heap: make([]appointment, 0, targets), place: make([]int32, targets)}
	for i := range a.place {
		a.place[i] = -1
	}
	return a
}

// first returns the earliest appointment.
func (a *agenda) first() (appointment, bool) {
	if len(a.heap) == 0 {
		return appointment{}, false
	}
	return a.heap[0], true
}

// set makes an appointment for target, in place of the one it may have.
func (a *agenda) set(target int32, at int64) {
	i := int(a.place[target])
	if i < 0 {
		i = len(a.heap)
		a.heap = append(a.heap, appointment{})
	}
	a.fix(i, appointment{at, target})
}

// remove takes target out, if it has an appointment.
func (a *agenda) remove(target int32) {
	i := int(a.place[target])
	if i < 0 {
		return
	}
	a.place[target] = -1
	last := len(a.heap) - 1
	moved := a.heap[last]
	a.heap = a.heap[:last]
	if i < last {
		a.fix(i, moved)
	}
}

// fix puts p where the order wants it, beginning at the free place i.
func (a *agenda) fix(i int, p appointment) {
	for i > 0 {
		parent := (i - 1) / 2
		if a.heap[parent].at <= p.at {
			break
		}
		a.put(i, a.heap[parent])
		i = parent
	}
	for {
		child := 2*i + 1
		if child >= len(a.heap) {
			break
		}
		if right := child + 1; right < len(a.heap) && a.heap[right].at < a.heap[child].at {
			child = right
		}
		if a.heap[child].at >= p.at {
			break
		}
		a.put(i, a.heap[child])
		i = child
	}
	a.put(i, p)
}

func (a *agenda) put(i int, p appointment) {
	a.heap[i] = p
	a.place[p.target] = int32(i)
}
