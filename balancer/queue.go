package balancer

import (
	"container/list"
	"net/netip"

	"l4proxy/backend"
)

// Waiter is a client that waits for a backend. It is compared by identity: use a pointer.
type Waiter interface {
	// Granted gives it a backend, on which it is counted as by Pick. Any goroutine may call it,
	// once. It must not block and must not call the Balancer.
	Granted(b *backend.Backend)
}

// queue holds the clients of a pool that wait, first come, first served.
type queue struct {
	waiting *list.List // of queued
	entries map[Waiter]*list.Element
}

// queued is a client in the queue.
type queued struct {
	waiter Waiter
	client netip.Addr
	tired  bool // it has tried the ejected backends already
}

// grant is a backend for a client that waited, delivered after the lock is released.
type grant struct {
	waiter  Waiter
	backend *backend.Backend
}

func (q *queue) len() int {
	if q.waiting == nil {
		return 0
	}
	return q.waiting.Len()
}

// hasRoom reports whether the client may wait, in a queue of a size. A client that has had its turn
// may return in any case.
func (q *queue) hasRoom(r *Request, size int) bool { return q.len() < size || r.Again }

// enqueue lets the client wait, if there is room.
func (p *Balancer) enqueue(r *Request) Verdict {
	q := &p.queue
	if !q.hasRoom(r, p.options.Queue) {
		return QueueFull
	}
	if q.waiting == nil {
		q.waiting, q.entries = list.New(), make(map[Waiter]*list.Element)
	}
	entry := queued{r.Waiter, r.Client, r.Again || r.OnlyAvailable}
	if r.Again {
		q.entries[r.Waiter] = q.waiting.PushFront(entry)
	} else {
		q.entries[r.Waiter] = q.waiting.PushBack(entry)
	}
	if q.len() == 1 {
		p.report(Event{Kind: ClientWaits, Now: r.Now})
	}
	return Waiting
}

// Leave takes a client out of the queue. It returns false if the client has been given a backend
// already: then Granted was called, or is about to be.
func (p *Balancer) Leave(w Waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	entry, ok := p.queue.entries[w]
	if ok {
		p.queue.remove(entry)
	}
	return ok
}

func (q *queue) remove(entry *list.Element) {
	delete(q.entries, q.waiting.Remove(entry).(queued).waiter)
}

// anyEjected picks an ejected backend that is not in backoff, for waiting clients that no other
// backend is going to serve: dials to it are answered. Waiting clients do not try the backends in
// backoff, one after another, only to be refused: the first of them is the probe when one is due.
func (p *Balancer) anyEjected() *backend.Backend {
	for _, m := range p.ejected {
		if m.tier.waiting.Has(m.index) && !m.InBackoff() {
			return p.count(m.tier, m.index)
		}
	}
	return nil
}

// serveQueue gives backends to waiting clients, as far as there are any. No client that comes later
// has a better claim: while clients wait, there is nothing for a newcomer to pick.
func (p *Balancer) serveQueue(now int64) {
	for p.queue.len() > 0 {
		first := p.queue.waiting.Front()
		entry := first.Value.(queued)
		b := p.choose(now, p.key(&entry.client), nil, true, true)
		if b == nil && !entry.tired && !p.full() {
			b = p.anyEjected()
		}
		if b == nil {
			return
		}
		p.queue.remove(first)
		p.grants = append(p.grants, grant{entry.waiter, b})
	}
}
