package proxy

import (
	"context"
	"sync"
	"time"
)

const (
	// In one go, a loop looks at no more than walkSlice connections, or describes no more than
	// detailSlice of them, which takes up to four system calls each.
	walkSlice   = connChunk
	detailSlice = 16
)

// A connRow is what is needed of every connection that matches, to order them.
type connRow struct {
	connKey
	seen       int64 // loop clock
	accepted   int64
	lastActive int64
	bytes      [2]uint64
	ending     bool // its outcome is known
}

// on runs f on a worker's loop and waits for it. It returns an error if the loop has ended, or does
// not come to it before ctx is done; then f may still run later.
func (s *Server) on(ctx context.Context, w *worker, f func(*worker)) error {
	done := make(chan struct{})
	if !w.loop.Post(func(w *worker) { f(w); close(done) }) {
		return errStopped
	}
	select {
	case <-done:
		return nil
	case <-s.stop:
		return errStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// walk returns all connections that a filter selects. The loops are walked at the same time, each
// in slices. A connection keeps its index as long as it lives, so none is found twice, and none
// that lives all the while is missed.
func (s *Server) walk(ctx context.Context, f *ConnFilter) ([]connRow, error) {
	select {
	case s.inspect.walking <- struct{}{}:
		defer func() { <-s.inspect.walking }()
	case <-s.stop:
		return nil, errStopped
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	rows, errs := make([][]connRow, len(s.workers)), make([]error, len(s.workers))
	var walks sync.WaitGroup
	for i, w := range s.workers {
		walks.Go(func() { rows[i], errs[i] = s.walkWorker(ctx, w, f) })
	}
	walks.Wait()
	var all []connRow
	for i := range s.workers {
		if errs[i] != nil {
			return nil, errs[i]
		}
		all = append(all, rows[i]...)
	}
	return all, nil
}

func (s *Server) walkWorker(ctx context.Context, w *worker, f *ConnFilter) (all []connRow, err error) {
	m := newMatcher(f)
	slice := make([]connRow, 0, walkSlice) // so that the loop allocates nothing
	next, over := uint32(0), false
	for !over {
		if err := s.on(ctx, w, func(w *worker) { slice, next, over = w.walkSlice(m, slice[:0], next) }); err != nil {
			return nil, err
		}
		all = append(all, slice...)
	}
	return all, nil
}

// walkSlice adds the connections that match among the next ones, from an index on.
func (w *worker) walkSlice(m *matcher, rows []connRow, from uint32) (_ []connRow, next uint32, over bool) {
	now := w.loop.Now()
	next = min(from+walkSlice, w.indices())
	for i := from; i < next; i++ {
		if c := w.conn(i); c.state != stateNone && m.matches(c, now) {
			rows = append(rows, w.row(c, now))
		}
	}
	return rows, next, next == w.indices()
}

func (w *worker) row(c *conn, now int64) connRow {
	return connRow{
		connKey: w.keyOf(c), seen: now, accepted: c.accepted, lastActive: c.lastActive,
		bytes: c.bytesPassed(), ending: c.ending(),
	}
}

// detail is the description of a connection, if it was found.
type detail struct {
	ConnInfo
	found bool
}

// details describes the connections of keys that still live and match, in the order of the keys.
func (s *Server) details(ctx context.Context, f *ConnFilter, keys []connKey) ([]detail, error) {
	all := make([]detail, len(keys))
	err := s.eachSlice(ctx, keys, detailSlice, func(w *worker, at []int) {
		m := newMatcher(f)
		for _, i := range at {
			if c := w.withKey(keys[i]); c != nil && m.matches(c, w.loop.Now()) {
				all[i] = detail{w.info(c), true}
			}
		}
	})
	if err != nil { // a loop may still come to it
		return nil, err
	}
	return all, nil
}

// rows returns the rows of the connections of keys that still live and match, in any order.
func (s *Server) rows(ctx context.Context, f *ConnFilter, keys []connKey) ([]connRow, error) {
	all := make([]connRow, 0, len(keys))
	err := s.eachSlice(ctx, keys, walkSlice, func(w *worker, at []int) {
		m := newMatcher(f)
		for _, i := range at {
			if c := w.withKey(keys[i]); c != nil && m.matches(c, w.loop.Now()) {
				all = append(all, w.row(c, w.loop.Now()))
			}
		}
	})
	if err != nil { // a loop may still come to it
		return nil, err
	}
	return all, nil
}

// eachSlice calls f on the loops for the positions of all keys, some of one worker at a time.
func (s *Server) eachSlice(ctx context.Context, keys []connKey, most int, f func(w *worker, at []int)) error {
	byWorker := make([][]int, len(s.workers))
	for i, k := range keys {
		if s.workerOf(k) != nil {
			byWorker[k.worker] = append(byWorker[k.worker], i)
		}
	}
	for i, w := range s.workers {
		for at := byWorker[i]; len(at) > 0; {
			slice := at[:min(len(at), most)]
			at = at[len(slice):]
			if err := s.on(ctx, w, func(w *worker) { f(w, slice) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// pause waits, unless the Server stops or ctx is done first.
func (s *Server) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.stop:
		return errStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
