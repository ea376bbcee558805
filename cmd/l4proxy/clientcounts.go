package main

import (
	"log/slog"
	"maps"
	"time"

	"l4proxy/admin"
	"l4proxy/events"
)

const (
	// clientsPeriod is the least time between two events about the clients of a listener.
	clientsPeriod = 10 * time.Second
	// goneKept is how many removed listeners are remembered: one that is back counts on.
	goneKept = 1000
)

// clientCounts publishes how many clients were denied or not served: an event per client would be
// too many.
type clientCounts struct {
	publish   func(events.Event)
	listeners map[string]*clientCount
	begun     bool
	// logDropped counts the lines that the log has dropped: it reports them past the Hub.
	logDropped func() uint64
	log        clientCount
}

// clientCount is what was published about a listener.
type clientCount struct {
	denied, failed     uint64 // so far
	deniedAt, failedAt time.Time
}

// compare publishes what is new in a sample. The first one is what later ones are compared with.
func (c *clientCounts) compare(stats *admin.Stats) {
	seen := make(map[string]*clientCount, len(stats.Listeners))
	for i := range stats.Listeners {
		l := &stats.Listeners[i]
		of := c.listeners[l.Name]
		if of == nil {
			of = new(clientCount)
			if !c.begun {
				of.denied, of.failed = l.Denied, l.Failed
			}
		}
		if l.Denied < of.denied || l.Failed < of.failed { // it was removed, and has begun again
			of.denied, of.failed = 0, 0
		}
		seen[l.Name] = of
		c.report(l.Name, stats.Time, l.Denied, &of.denied, &of.deniedAt, slog.LevelInfo, events.Denied, "clients denied")
		c.report(l.Name, stats.Time, l.Failed, &of.failed, &of.failedAt, slog.LevelWarn, events.Failed, "clients not served")
	}
	if gone := len(c.listeners) - len(stats.Listeners); gone <= goneKept {
		maps.Copy(c.listeners, seen)
	} else {
		c.listeners = seen
	}
	c.begun = true
	c.report("", stats.Time, c.logDropped(), &c.log.failed, &c.log.failedAt, slog.LevelWarn, events.TypeOf(logDropped), logDropped)
}

// logDropped is the line with which the log reports lines that it has dropped.
const logDropped = "log lines dropped: the log cannot keep up"

// report publishes how much a count has grown since the last event, unless that was a moment ago.
func (c *clientCounts) report(listener string, now time.Time, count uint64, reported *uint64, at *time.Time, level slog.Level, kind, message string) {
	if count <= *reported || now.Sub(*at) < clientsPeriod {
		return
	}
	details := map[string]any{"count": count - *reported}
	if !at.IsZero() {
		details["seconds"] = now.Sub(*at).Round(time.Second).Seconds()
	}
	e := events.Notice(level, kind, message, details)
	e.Listener = listener
	c.publish(e)
	*reported, *at = count, now
}
