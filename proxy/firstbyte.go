package proxy

import (
	"time"

	"l4proxy/balancer"
)

// A backend that hangs sends nothing, so no completion shows it. Therefore, if a pool sets
// Pool.FirstByte, each worker looks over its connections at intervals.
const (
	// looksPerFirstByte is the number of looks in the time that a backend has, so a silent backend
	// is noticed at most an eighth of that time late.
	looksPerFirstByte = 8
	// A look takes a few ns per connection (BenchmarkFirstByteLook), and the loop does nothing else
	// meanwhile.
	minLookEvery = 10 * time.Millisecond
	maxLookEvery = time.Second
	// timerLate is how late a timer may be although the process was not paused.
	timerLate = 20 * time.Millisecond
)

// lookEvery returns the time between two looks, 0 if no pool needs them.
func (s *State) lookEvery() time.Duration {
	least := time.Duration(0)
	for _, l := range s.Listeners {
		for p := range l.pools() {
			if t := p.FirstByte; t > 0 && (least == 0 || t < least) {
				least = t
			}
		}
	}
	if least == 0 {
		return 0
	}
	return lookEvery(least)
}

// countOnce is the period in which all clients of one address that wait or have given up count as
// one failure: the time between two looks, or maxLookEvery without looks.
func (p *Pool) countOnce() time.Duration {
	if p.FirstByte == 0 {
		return maxLookEvery
	}
	return lookEvery(p.FirstByte)
}

func lookEvery(firstByte time.Duration) time.Duration {
	return min(max(firstByte/looksPerFirstByte, minLookEvery), maxLookEvery)
}

// firstByteLook is the task that looks for silent backends on one worker.
type firstByteLook struct {
	timerTask
	worker *worker
	index  uint32
	every  time.Duration
	due    int64 // the next look, on the loop's clock
	// awake is since when looks have been on time. While the machine was paused (a virtual machine
	// was moved, a process was stopped), backends had no chance to answer.
	awake int64
	// older: connections of an older State may need looks more often than the State does.
	older bool
}

// lookForFirstBytes starts the looks if a pool of the State needs them. If they have started, it
// fits them to a new State, and never delays the next one: States may follow each other quickly.
func (w *worker) lookForFirstBytes() {
	switch every := w.server.serving().lookEvery(); {
	case w.look != nil:
		w.look.older = true
		if every > 0 && every < w.look.every {
			w.look.setTimer()
		}
	case every > 0:
		w.startLooks()
	}
}

func (w *worker) startLooks() {
	w.look = &firstByteLook{worker: w, awake: w.loop.Now(), older: true}
	w.look.index = w.startTask(w.look)
	w.look.setTimer()
}

// setTimer sets the timer to the next look. If neither the State nor any connection needs looks, it
// ends the task.
func (l *firstByteLook) setTimer() {
	w := l.worker
	l.every = w.server.serving().lookEvery()
	if l.older {
		least := w.lookEvery()
		if l.older = least > 0 && (l.every == 0 || least < l.every); l.older {
			l.every = least
		}
	}
	if l.every == 0 {
		w.endTask(l.index)
		w.look = nil
		return
	}
	l.due = w.loop.Now() + int64(l.every)
	w.loop.SetTimer(l.index, l.due)
}

// lookEvery is the time between two looks that the connections of this worker need, 0 if they need
// none.
func (w *worker) lookEvery() (every time.Duration) {
	w.connections(func(c *conn) {
		if c.pool == nil || c.pool.FirstByte == 0 || c.flags&flagAnswered != 0 {
			return
		}
		if own := c.pool.countOnce(); every == 0 || own < every {
			every = own
		}
	})
	return every
}

// expire implements task: it looks.
func (l *firstByteLook) expire() {
	now := l.worker.loop.Now()
	if now-l.due > int64(l.every+timerLate) {
		l.awake = now
	}
	l.worker.blameSilent(now, l.awake)
	l.setTimer()
}

// blameSilent reports to the balancer all connections that have waited too long for their backend's
// first byte. They stay open. A connection that does not count this time may count at a later look.
func (w *worker) blameSilent(now, awake int64) {
	w.connections(func(c *conn) {
		if c.state != stateRelaying || c.flags&(flagAnswered|flagBlamed) != 0 || c.paced() || !c.silent(now-max(c.lastActive, awake)) {
			return
		}
		pool := c.pool
		if c.backend.Ejected() || pool.Balancer.Silent(c.backend, balancer.Silence{
			Client: c.client.Addr(), Asked: c.lastActive, Now: now, Once: pool.countOnce(),
		}) {
			c.flags |= flagBlamed
		}
	})
}

// silent reports whether the client has sent bytes and has then waited for longer than the pool
// allows. quiet is the time in which nothing has moved: while the client still sends, the backend
// need not answer.
func (c *conn) silent(quiet int64) bool {
	limit := int64(c.pool.FirstByte)
	return limit > 0 && quiet >= limit && c.flow[clientEnd].bytes > 0 && c.flow[backendEnd].ended == flowOpen
}
