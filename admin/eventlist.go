package admin

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	// defaultEvents and maxEvents are how many events a list has.
	defaultEvents = 100
	maxEvents     = 1000
)

// levels are those of events, the least first.
var levels = []string{"info", "warn", "error"}

// eventFilter selects events.
type eventFilter struct {
	types []string // none selects all
	level int      // index of the least level
}

// check reports what is wrong with a query, and returns its filter.
func (q *EventQuery) check() (f eventFilter, err error) {
	if q.Type != "" {
		f.types = strings.Split(q.Type, ",")
	}
	if q.Level != "" {
		if f.level = slices.Index(levels, q.Level); f.level < 0 {
			return f, Invalid("unknown level "+strconv.Quote(shorten(q.Level)), "write "+strings.Join(levels, ", "))
		}
	}
	if q.Limit < 0 || q.Limit > maxEvents {
		return f, Invalid("the limit "+strconv.Itoa(q.Limit)+" is out of range", "write a number from 1 to "+strconv.Itoa(maxEvents))
	}
	return f, nil
}

func (f *eventFilter) selects(e *Event) bool {
	return (len(f.types) == 0 || slices.Contains(f.types, e.Type)) && slices.Index(levels, e.Level) >= f.level
}

// listEvents answers with a list, or with a stream if the client asks for one.
func (s *Server) listEvents(c *call) error {
	var query EventQuery
	if err := c.decode(&query); err != nil {
		return err
	}
	filter, err := query.check()
	if err != nil {
		return err
	}
	if s.events == nil {
		return Unavailable("report events")
	}
	if wantsStream(c.r) {
		return s.streamEvents(c, query, filter)
	}
	if query.Stats {
		return Invalid("a list of events has no stats", `send "Accept: text/event-stream" for a stream`)
	}
	answer := Events{Events: []Event{}}
	for _, e := range s.events.Recent(query.After) {
		answer.Last = e.ID
		if filter.selects(&e) {
			answer.Events = append(answer.Events, e)
		}
	}
	if answer.Last == 0 {
		answer.Last = query.After
	}
	limit := query.Limit
	if limit == 0 {
		limit = defaultEvents
	}
	answer.Events = answer.Events[max(0, len(answer.Events)-limit):]
	c.reply(http.StatusOK, answer)
	return nil
}

// wantsStream reports whether the client accepts an event stream. Browsers and curl without -H do
// not name it.
func wantsStream(r *http.Request) bool {
	for _, accept := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			kind, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(kind), streamType) {
				return true
			}
		}
	}
	return false
}
