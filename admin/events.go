package admin

import (
	"context"
	"time"
)

// EventQuery are the parameters of GET /api/v1/events.
type EventQuery struct {
	// After is the ID of the last event that the client has seen. The header Last-Event-ID says the
	// same, and counts first.
	After uint64 `json:"after,omitempty"`
	// Limit is the most events in a list, the latest; 0 is 100. It is 1000 at most.
	Limit int `json:"limit,omitempty"`
	// Type selects types of events, separated by commas.
	Type string `json:"type,omitempty"`
	// Level is the least level: "info", "warn" or "error".
	Level string `json:"level,omitempty"`
	// Stats adds a [Stats] each second to an event stream.
	Stats bool `json:"stats,omitempty"`
}

// Events is the answer of GET /api/v1/events.
type Events struct {
	// Events are the oldest first.
	Events []Event `json:"events"`
	// Last is the ID of the latest event, selected or not; 0 if there is none. It is After of the
	// next request.
	Last uint64 `json:"last"`
}

// Event is something that has changed in the proxy. Each is a log line too, except for the counts
// of clients that were denied or not served.
type Event struct {
	// ID increases; an event stream continues after the last one that a client has seen.
	ID   uint64    `json:"id"`
	Time time.Time `json:"time"`
	// Level is "info", "warn" or "error".
	Level string `json:"level"`
	// Type is a stable word such as "backend_down"; "log" for a line that has no type of its own.
	// docs/api.md lists them.
	Type    string `json:"type"`
	Message string `json:"message"`

	Listener string `json:"listener,omitempty"`
	Pool     string `json:"pool,omitempty"`
	Backend  string `json:"backend,omitempty"`
	// Details are the other attributes of the log line.
	Details map[string]any `json:"details,omitempty"`
}

// EventSource is where events come from. Several goroutines use it at once.
type EventSource interface {
	// Recent are the latest events with an ID greater than after, the oldest first. There are a few
	// thousand of them at most.
	Recent(after uint64) []Event
	// Follow calls send for each event with an ID greater than after, for the Stats that are due if
	// stats is set, and first of all for the history of Stats. It returns when ctx is done, or with
	// the error of send. A receiver that is slow misses messages: it gets a Gap for events, and
	// only the latest Stats. Nothing is queued for it.
	Follow(ctx context.Context, after uint64, stats bool, send func(StreamMessage) error) error
}

// StreamMessage is one message of an event stream: one of the fields is set. In the stream, its
// SSE event name is "event", "stats", "history" or "gap".
type StreamMessage struct {
	Event   *Event
	Stats   *Stats
	History []Stats // the oldest first
	Gap     *Gap
}

// Gap says that events are missing, because the client reads too slowly or was away too long.
type Gap struct {
	Missed uint64 `json:"missed"`
}

// Stats are counts at a moment. Counts of events only grow; rates are differences of two Stats.
// An event stream with stats=true has one each second.
type Stats struct {
	Time           time.Time `json:"time"`
	Connections    int       `json:"connections"`
	MaxConnections int       `json:"max_connections"`
	// Listeners and Pools are all of them in the answer to a request. A stream has the busiest 50
	// of each, by name; those with problems count as busier than any other.
	Listeners []ListenerStats `json:"listeners"`
	Pools     []PoolStats     `json:"pools"`
	// Busy is the share of its time that each event loop works, from 0 to 1.
	Busy []float64 `json:"busy"`
}

// ListenerStats are the counts of one listener.
type ListenerStats struct {
	Name        string `json:"name"`
	Connections int64  `json:"connections"`
	Accepted    uint64 `json:"accepted"`
	Denied      uint64 `json:"denied"`
	// Failed clients were allowed, and not served.
	Failed uint64 `json:"failed"`
	// BytesIn are client to backend, with those of live connections.
	BytesIn  uint64 `json:"bytes_in"`
	BytesOut uint64 `json:"bytes_out"`
}

// PoolStats are the counts of one pool.
type PoolStats struct {
	Name        string `json:"name"`
	Connections int64  `json:"connections"`
	Queued      int    `json:"queued"`
	// Dials are all of them, FailedDials those that did not succeed.
	Dials       uint64 `json:"dials"`
	FailedDials uint64 `json:"failed_dials"`
	Serving     bool   `json:"serving"`
	// Usable of the Backends can get clients.
	Usable   int `json:"usable"`
	Backends int `json:"backends"`
	// DialP50 and DialP99 are quantiles of the time that dials took, in seconds, between the latest
	// two samples, which are 1 to 5 seconds apart; 0 if there were none.
	DialP50 float64 `json:"dial_p50"`
	DialP99 float64 `json:"dial_p99"`
}
