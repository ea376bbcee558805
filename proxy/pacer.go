package proxy

import (
	"sync"

	"l4proxy/bandwidth"
)

// servedAtOnce bounds the buckets that one expiry serves, so that thousands of limited connections
// do not keep a loop from its other work. The rest is due at the next tick.
const servedAtOnce = 1024

// A pacer is the task that serves the buckets in which flows wait. A worker has one timer for all
// of them. A bucket that loops share is served by the loop of the flow that waited first.
type pacer struct {
	timerTask
	worker  *worker
	index   uint32
	due     bandwidth.Queue[*bandwidth.Bucket]
	granted []*bandwidth.Turn
}

// paceAlarm serves a bucket at the given time of the loop's clock.
func (w *worker) paceAlarm(b *bandwidth.Bucket, at int64) {
	p := w.pacer
	if p == nil {
		p = &pacer{worker: w}
		p.index = w.startTask(p)
		w.pacer = p
	}
	p.add(b, at)
}

func (p *pacer) add(b *bandwidth.Bucket, at int64) {
	if p.due.Len() == 0 {
		p.worker.loop.SetTimer(p.index, at)
	} else if _, next := p.due.First(); at < int64(next) {
		p.worker.loop.SetTimer(p.index, at)
	}
	p.due.Push(uint64(at), b)
}

// expire implements task: it serves the buckets that are due.
func (p *pacer) expire() {
	w := p.worker
	now := w.loop.Now()
	for served := 0; p.due.Len() > 0; served++ {
		b, at := p.due.First()
		if int64(at) > now || served == servedAtOnce {
			w.loop.SetTimer(p.index, int64(at))
			return
		}
		p.due.Pop()
		granted, wake := b.Serve(now, p.granted[:0])
		if wake != 0 {
			p.due.Push(uint64(wake), b)
		}
		for _, t := range granted {
			if f := t.Owner.(*pacedFlow); f.worker == w {
				w.paceGranted(t)
			} else {
				f.worker.grants.post(f.worker, t)
			}
		}
		clear(granted)
		p.granted = granted
	}
}

// grants are the turns of a worker's flows that other workers have served.
type grants struct {
	mu     sync.Mutex
	turns  []*bandwidth.Turn
	spare  []*bandwidth.Turn // of the worker
	posted bool
}

// grantsCame is the message that there are some.
type grantsCame struct{}

// post adds a turn. It wakes the worker once for all that come until it looks.
func (g *grants) post(w *worker, t *bandwidth.Turn) {
	g.mu.Lock()
	g.turns = append(g.turns, t)
	first := !g.posted
	g.posted = true
	g.mu.Unlock()
	if first {
		w.loop.Post(grantsCame{})
	}
}

// takeGrants continues the flows that other workers have served.
func (w *worker) takeGrants() {
	g := &w.grants
	g.mu.Lock()
	turns := g.turns
	g.turns, g.posted = g.spare[:0], false
	g.mu.Unlock()
	for _, t := range turns {
		w.paceGranted(t)
	}
	clear(turns)
	g.spare = turns
}
