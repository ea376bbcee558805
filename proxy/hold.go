package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/acl"
	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
)

// dropAfter is how long a dropped client is held before it is forgotten. What it has sent by then
// is acknowledged by the kernel. Forgotten at once, most clients would see a reset: the answer to
// their first bytes, which are still on their way.
const dropAfter = time.Second

// Tarpit bounds how long, and how many, clients are held by [acl.Tarpit].
type Tarpit struct {
	// Time is how long a client is held. 0 holds none: they are reset.
	Time time.Duration
	// Max is how many clients of the listener are held at once. Each loop gets an equal share. When
	// it is used up, the client that has been held longest makes way for the new one.
	Max int
}

// share is how many clients worker i of n may hold.
func (t Tarpit) share(i, n int) int {
	share := t.Max / n
	if i < t.Max%n {
		share++
	}
	return share
}

// held is the task of a denied client that sees nothing: it is in a tarpit, or about to be
// forgotten. It is counted and recorded already, and has no slot. Nothing reads from it: once its
// receive buffer is full, the kernel announces a window of 0.
type held struct {
	worker     *worker
	in         *holding
	prev, next *held
	index      uint32
	fd         int
	tarpit     bool // ends with a reset; else it is forgotten
	over       bool // to be closed once its watch has been cancelled
}

// holding is a list of held clients, those held longest first.
type holding struct {
	first, last *held
	n           counter // also read by other goroutines
}

// hold holds a client whose record is written, or ends it if it cannot be held.
func (w *worker) hold(fd int, l *Listener, action acl.Action) {
	h := held{worker: w, fd: fd, in: &w.dropped}
	most, limit := w.server.lingeringMost(), dropAfter
	if action == acl.Tarpit {
		h.tarpit = true
		h.in = &w.listenerCounters(l).tarpit
		limit, most = l.Tarpit.Time, l.Tarpit.share(w.number, len(w.server.workers))
		most = min(most, max(8, w.server.slots.all.room()/4/len(w.server.workers)))
	}
	if w.draining || w.held || w.ending.Reason != ReasonNone || w.shut[l.Name] != 0 || limit <= 0 || most <= 0 ||
		!h.tarpit && int(h.in.n.get()) >= most {
		h.close()
		return
	}
	for int(h.in.n.get()) >= most {
		h.in.first.end()
	}
	w.keep(h, limit)
}

// keep starts the task.
func (w *worker) keep(of held, limit time.Duration) {
	h := w.spareHeld
	if h == nil {
		h = new(held)
	} else {
		w.spareHeld = h.next
	}
	*h = of
	h.index = w.startTask(h)
	h.in.add(h)
	w.holds++
	w.loop.SetTimer(h.index, w.loop.Now()+int64(limit))
	if !h.tarpit {
		return // it is gone too soon for a watch
	}
	rawsys.SetInt(h.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) // the kernel raises it to its least
	w.loop.Attach(h.slot(), h.fd)
	w.loop.Watch(h.slot(), true)
}

func (h *held) slot() eventloop.Slot { return slotOf(h.index, clientEnd) }

// complete implements task: the client has left, or the watch is cancelled.
func (h *held) complete(*eventloop.Completion) {
	if !h.over {
		h.in.remove(h)
	}
	h.forget()
}

// expire implements task: the client was held for long enough.
func (h *held) expire() { h.end() }

// end ends the hold.
func (h *held) end() {
	if h.over {
		return
	}
	h.over = true
	h.in.remove(h)
	if h.tarpit && h.worker.loop.Busy(h.slot()) {
		h.worker.loop.StopTimer(h.index)
		h.worker.loop.CancelRead(h.slot())
		return
	}
	h.forget()
}

// forget ends the task. No operation is in flight.
func (h *held) forget() {
	w := h.worker
	if h.tarpit {
		w.loop.Detach(h.slot())
	}
	h.close()
	w.endTask(h.index)
	w.holds--
	*h = held{next: w.spareHeld}
	w.spareHeld = h
}

// close closes the socket by the action.
func (h *held) close() {
	if h.tarpit {
		rawsys.SetLinger(h.fd, 1, 0)
	} else {
		rawsys.Forget(h.fd)
	}
	rawsys.Close(h.fd)
}

func (l *holding) add(h *held) {
	if h.prev = l.last; h.prev != nil {
		h.prev.next = h
	} else {
		l.first = h
	}
	l.last = h
	l.n.add(1)
}

func (l *holding) remove(h *held) {
	if h.prev != nil {
		h.prev.next = h.next
	} else {
		l.first = h.next
	}
	if h.next != nil {
		h.next.prev = h.prev
	} else {
		l.last = h.prev
	}
	h.prev, h.next = nil, nil
	l.n.add(^uint64(0))
}

// endHeld ends all holds: nothing waits for them, and others may need their descriptors.
func (w *worker) endHeld() {
	if w.holds == 0 {
		return
	}
	w.dropped.end()
	for _, of := range w.server.ledger.Load().listeners {
		of[w.number].tarpit.end()
	}
	w.uncounted.listener.tarpit.end()
}

func (l *holding) end() {
	for l.first != nil {
		l.first.end()
	}
}
