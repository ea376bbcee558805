package proxy

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Tracing logs the steps of some connections, from accept to close.
//
// A client that arrives is compared with the traces once; a connection that is traced has a flag.
// So while nothing is traced, a client costs one load of a pointer, and a read the test of a bit.
// Steps go through a ring of each loop to the recorder, like records.

const (
	// tracesMost bounds the traces at a time.
	tracesMost = 16
	// tracedMost bounds the connections of traces that a loop follows at once, and tracedPerSecond
	// those that it begins to follow in a second: a trace that matches every client must not fill
	// the log. Others are counted.
	tracedMost      = 256
	tracedPerSecond = 50
)

// TraceFilter selects the connections of a trace.
type TraceFilter struct {
	Listener string       // "" is all
	From     netip.Prefix // the zero value is all
}

func (f TraceFilter) matches(l *Listener, peer netip.AddrPort) bool {
	return (f.Listener == "" || f.Listener == l.Name) &&
		(!f.From.IsValid() || peer.IsValid() && f.From.Contains(peer.Addr().Unmap().WithZone("")))
}

// TraceInfo describes a trace.
type TraceInfo struct {
	TraceFilter
	Since, Until time.Time
	// Connections were followed so far, and LeftOut were not because there were too many.
	Connections, LeftOut uint64
}

// trace is a trace in progress.
type trace struct {
	TraceFilter
	since, until time.Time
	timer        *time.Timer // ends it
	ended        atomic.Bool

	connections, leftOut atomic.Uint64
}

func (t *trace) info() TraceInfo {
	return TraceInfo{t.TraceFilter, t.since, t.until, t.connections.Load(), t.leftOut.Load()}
}

// traceSet is what arriving clients are compared with. It never changes.
type traceSet struct {
	all    bool // every connection, without bounds
	traces []*trace
}

// tracer is the part of a Server that keeps the traces.
type tracer struct {
	set  atomic.Pointer[traceSet] // nil: nothing is traced
	last atomic.Uint64            // the last number of a traced connection

	mu     sync.Mutex
	closed bool
}

// ErrTooManyTraces is the error of one trace too many.
var ErrTooManyTraces = errors.New("too many traces: 16 at a time")

// Trace has the steps of matching connections passed to Options.Step until the given time: those of
// new clients, and of connections that are open. A trace with the same filter is replaced.
func (s *Server) Trace(f TraceFilter, until time.Time) error {
	if s.step == nil {
		return errors.New("this server passes no steps on")
	}
	f.From = canonicalPrefix(f.From)
	t := &trace{TraceFilter: f, since: time.Now(), until: until}
	if err := s.tracer.start(t, s.traceOver); err != nil {
		return err
	}
	s.log.Info("trace started", t.attributes()...)
	s.followOpen(t)
	return nil
}

// canonicalPrefix masks p and turns an IPv4-mapped prefix into the IPv4 one.
func canonicalPrefix(p netip.Prefix) netip.Prefix {
	if p.IsValid() && p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// start adds a trace. over is called at its end.
func (r *tracer) start(t *trace, over func(*trace)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var next traceSet
	if set := r.set.Load(); set != nil {
		next = traceSet{set.all, slices.Clone(set.traces)}
	}
	if i := slices.IndexFunc(next.traces, func(o *trace) bool { return o.TraceFilter == t.TraceFilter }); i >= 0 {
		next.traces[i].end()
		next.traces = slices.Delete(next.traces, i, i+1)
	}
	if len(next.traces) >= tracesMost {
		return ErrTooManyTraces
	}
	if r.closed {
		return errStopped
	}
	t.timer = time.AfterFunc(time.Until(t.until), func() { over(t) })
	next.traces = append(next.traces, t)
	r.set.Store(&next)
	return nil
}

// end makes the connections of a trace no longer followed.
func (t *trace) end() {
	t.ended.Store(true)
	t.timer.Stop()
}

// traceOver is called when the time of a trace is over.
func (s *Server) traceOver(t *trace) {
	if s.tracer.remove(func(o *trace) bool { return o == t }) > 0 {
		s.unfollowEnded()
		s.log.Info("trace ended", t.attributes()...)
	}
}

// remove ends the traces that choose accepts, and returns their number.
func (r *tracer) remove(choose func(*trace) bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	set := r.set.Load()
	if set == nil {
		return 0
	}
	next := &traceSet{all: set.all}
	for _, t := range set.traces {
		if choose(t) {
			t.end()
			n++
		} else {
			next.traces = append(next.traces, t)
		}
	}
	r.put(next)
	return n
}

// put stores a set, or nil if it is empty.
func (r *tracer) put(set *traceSet) {
	if !set.all && len(set.traces) == 0 {
		set = nil
	}
	r.set.Store(set)
}

// StopTraces ends the traces with a filter, all of them if it is nil, and returns their number.
func (s *Server) StopTraces(f *TraceFilter) int {
	if f != nil {
		f = &TraceFilter{f.Listener, canonicalPrefix(f.From)}
	}
	n := s.tracer.remove(func(t *trace) bool { return f == nil || t.TraceFilter == *f })
	if n > 0 {
		s.unfollowEnded()
		s.log.Info("traces stopped", "traces", n)
	}
	return n
}

// TraceAll says whether the steps of every connection are passed to Options.Step.
func (s *Server) TraceAll(on bool) {
	if s.step == nil {
		return
	}
	r := &s.tracer
	r.mu.Lock()
	next := &traceSet{all: on}
	set := r.set.Load()
	if set != nil {
		next.traces = set.traces
	}
	changed := (set != nil && set.all) != on
	r.put(next)
	r.mu.Unlock()
	switch {
	case !changed:
	case on:
		s.followOpen(nil)
	default:
		s.unfollowEnded()
	}
}

// Traces describes the traces, the oldest first.
func (s *Server) Traces() []TraceInfo {
	set := s.tracer.set.Load()
	if set == nil {
		return nil
	}
	var all []TraceInfo
	for _, t := range set.traces {
		all = append(all, t.info())
	}
	return all
}

// close ends all traces for good: the server has stopped.
func (r *tracer) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.remove(func(*trace) bool { return true })
}

// attributes are a trace for the log.
func (t *trace) attributes() []any {
	from := "any"
	if t.From.IsValid() {
		from = t.From.String()
	}
	listener := t.Listener
	if listener == "" {
		listener = "any"
	}
	return []any{"listener", listener, "from", from, "until", t.until.UTC().Truncate(time.Second),
		"connections", t.connections.Load(), "left_out", t.leftOut.Load()}
}
