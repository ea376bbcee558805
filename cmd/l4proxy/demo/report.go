package demo

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"l4proxy/proxy"
)

const (
	// linesASecond is how many connections get a line of their own. The others are summed up each second.
	linesASecond = 10
	// linesWaiting can wait for an output that takes none for a moment; further ones are left out.
	linesWaiting = 64
	// lastWords is how long the output may take for the last lines.
	lastWords = 500 * time.Millisecond
)

// Report prints the connections that have ended: a line each while they are few, otherwise a summary each second.
type Report struct {
	names map[string]string // of backends, by address
	order []string          // of names
	quiet netip.Addr        // clients that get no line of their own

	out     io.Writer
	lines   chan string
	closing chan struct{}
	done    chan struct{}

	mu     sync.Mutex
	total  counts
	second counts // since the last tick, without those that got a line
	shown  int    // lines since the last tick
}

// counts are connections by how they ended.
type counts struct {
	served map[string]int // by name of the backend
	denied int
	failed int
}

func newCounts() counts { return counts{served: make(map[string]int)} }

// NewReport starts a report on out. Clients with the address quiet get no lines of their own. Close ends it.
func NewReport(out io.Writer, backends []*Backend, quiet netip.Addr) *Report {
	r := &Report{
		names:   make(map[string]string),
		quiet:   quiet,
		out:     out,
		lines:   make(chan string, linesWaiting),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
		total:   newCounts(),
		second:  newCounts(),
	}
	for _, b := range backends {
		r.names[b.Addr()] = b.Name()
		r.order = append(r.order, b.Name())
	}
	go r.run()
	return r
}

// run is the one goroutine that writes, so that an output that blocks holds up nobody else.
func (r *Report) run() {
	defer close(r.done)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case line := <-r.lines:
			fmt.Fprintln(r.out, line)
		case <-ticker.C:
			if line := r.tick(); line != "" {
				fmt.Fprintln(r.out, line)
			}
		case <-r.closing:
			for len(r.lines) > 0 {
				fmt.Fprintln(r.out, <-r.lines)
			}
			fmt.Fprintln(r.out, r.summary())
			return
		}
	}
}

// Finished is told of each connection that has ended.
func (r *Report) Finished(record *proxy.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := r.count(&r.total, record)
	if record.Client.Addr() == r.quiet || r.shown == linesASecond {
		r.count(&r.second, record)
		return
	}
	select {
	case r.lines <- line(record, name):
		r.shown++
	default:
		r.count(&r.second, record)
	}
}

// count adds a connection to c, and returns the name of its backend.
func (r *Report) count(c *counts, record *proxy.Record) (backend string) {
	switch {
	case record.Reason == proxy.ReasonDenied:
		c.denied++
	case !served(record):
		c.failed++
	default:
		backend = r.names[record.Backend.Address]
		c.served[backend]++
	}
	return backend
}

// served reports whether a connection has reached a backend and was carried to its end.
func served(record *proxy.Record) bool {
	switch record.Reason {
	case proxy.ReasonClosed, proxy.ReasonReset, proxy.ReasonVanished, proxy.ReasonIdleTimeout, proxy.ReasonHalfCloseTimeout,
		proxy.ReasonDrainTimeout, proxy.ReasonStopped:
		return true
	}
	return false
}

// line says in a few words how a connection went.
func line(record *proxy.Record, backend string) string {
	head := clock() + "  " + record.Client.String()
	switch {
	case record.Reason == proxy.ReasonDenied:
		return head + "  denied by rule " + record.Rule
	case !served(record):
		return head + "  not served: " + record.Reason.String()
	}
	text := fmt.Sprintf("%s  -> %s  %d bytes in, %d out, %v, %s by %s", head, backend, record.BytesIn, record.BytesOut,
		record.Duration.Round(100*time.Microsecond), record.Reason, record.Side)
	if record.Attempts > 1 {
		text += fmt.Sprintf(" (at attempt %d: the others refused)", record.Attempts)
	}
	return text
}

// tick returns the summary of the last second, "" when there is nothing to say.
func (r *Report) tick() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	second := r.second
	r.second, r.shown = newCounts(), 0
	if len(second.served) == 0 && second.denied+second.failed == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(clock())
	for _, name := range r.order {
		fmt.Fprintf(&b, "  %s %4d (+%d)", name, r.total.served[name], second.served[name])
	}
	fmt.Fprintf(&b, "  denied %d  failed %d", r.total.denied, r.total.failed)
	return b.String()
}

func (r *Report) summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	parts := make([]string, 0, len(r.order))
	for _, name := range r.order {
		parts = append(parts, fmt.Sprintf("%s %d", name, r.total.served[name]))
	}
	return fmt.Sprintf("connections served: %s; denied %d, failed %d", strings.Join(parts, ", "), r.total.denied, r.total.failed)
}

// Close prints the summary and ends the report. It waits for the output a moment, not for ever: where that takes
// nothing, one goroutine stays behind in its write.
func (r *Report) Close() {
	close(r.closing)
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-r.done:
	case <-timer.C:
	}
}

func clock() string { return time.Now().Format("15:04:05") }
