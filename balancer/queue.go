package balancer

import (
	"container/list"

	"l4proxy/backend"
)

// Waiter is a client that waits for a place on a backend. It is compared by
// identity, so a pointer is what to use.
type Waiter interface {
	// Granted gives it a backend, on which it is counted as by Pick. Any
	// goroutine may call it, once; it must not block and must not call the
	// Balancer.
	Granted(b *backend.Backend)
}

// queue holds the clients of a pool that wait, first come, first served.
type queue struct {
	waiting *list.List // of queued
	places  map[Waiter]*list.Element
}

// queued is a client in the queue.
type queued struct {
	waiter Waiter
	key    uint64 // the hash of its address
	tired  bool   // it has tried those that are ejected already
}

// grant is a backend for one who waited, told when the lock has been given
// back.
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

// hasRoom reports whether the client may wait, in a queue of a size. Who has had
// its turn keeps its place.
func (q *queue) hasRoom(r *Request, size int) bool { return q.len() < size || r.Again }

// enqueue lets the client wait, if there is room.
func (p *Balancer) enqueue(r *Request, key uint64) Verdict {
	q := &p.queue
	if !q.hasRoom(r, p.options.Queue) {
		return QueueFull
	}
	if q.waiting == nil {
		q.waiting, q.places = list.New(), make(map[Waiter]*list.Element)
	}
	entry := queued{r.Waiter, key, r.Again || r.OnlyAvailable}
	if r.Again {
		q.places[r.Waiter] = q.waiting.PushFront(entry)
	} else {
		q.places[r.Waiter] = q.waiting.PushBack(entry)
	}
	if q.len() == 1 {
		p.tell(Event{Kind: ClientWaits, Now: r.Now})
	}
	return Waiting
}

// Leave takes a client out of the queue. It reports false when the client has
// been given a backend already: then Granted was called, or is about to be.
func (p *Balancer) Leave(w Waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	place, ok := p.queue.places[w]
	if ok {
		p.queue.remove(place)
	}
	return ok
}

func (q *queue) remove(place *list.Element) {
	delete(q.places, q.waiting.Remove(place).(queued).waiter)
}

// anyEjected picks one that is ejected and not left aside, for clients who wait
// and would wait for nobody else: its dials are answered. They do not try those
// that are left aside, one after another, and be refused: the first of them is
// the probe in its time.
func (p *Balancer) anyEjected() *backend.Backend {
	for _, i := range p.ejected {
		b := p.backends[i]
		t, place := p.at(b)
		if t.waiting.Has(place) && !b.InBackoff() {
			return p.count(t, place)
		}
	}
	return nil
}

// serveQueue gives backends to those who wait, as far as there are any. Nobody
// who comes later has a better claim: while somebody waits, there is nothing
// for a newcomer to pick.
func (p *Balancer) serveQueue(now int64) {
	for p.queue.len() > 0 {
		first := p.queue.waiting.Front()
		entry := first.Value.(queued)
		b := p.choose(now, entry.key, nil, true, true)
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
