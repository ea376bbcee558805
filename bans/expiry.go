package bans

// expiry is a min-heap of the bans that end, by their end. Each ban knows its position, so that one
// that is replaced can be taken out. container/heap would call through an interface.
type expiry []*Ban

func (h expiry) place(b *Ban, at int) {
	h[at] = b
	b.heap = int32(at)
}

func (h *expiry) add(b *Ban) {
	if b.until == never {
		return
	}
	*h = append(*h, b)
	h.up(b, len(*h)-1)
}

// remove takes a ban out, if it is in.
func (h *expiry) remove(b *Ban) {
	at := int(b.heap)
	if at < 0 {
		return
	}
	b.heap = -1
	last := len(*h) - 1
	moved := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	if at == last {
		return
	}
	if at > 0 && moved.until < (*h)[(at-1)/2].until {
		h.up(moved, at)
	} else {
		h.down(moved, at)
	}
}

func (h *expiry) up(b *Ban, at int) {
	for at > 0 {
		parent := (at - 1) / 2
		if (*h)[parent].until <= b.until {
			break
		}
		h.place((*h)[parent], at)
		at = parent
	}
	h.place(b, at)
}

func (h *expiry) down(b *Ban, at int) {
	for {
		child := 2*at + 1
		if child >= len(*h) {
			break
		}
		if child+1 < len(*h) && (*h)[child+1].until < (*h)[child].until {
			child++
		}
		if b.until <= (*h)[child].until {
			break
		}
		h.place((*h)[child], at)
		at = child
	}
	h.place(b, at)
}
