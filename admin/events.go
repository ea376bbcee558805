package admin

import (
	"context"
	"time"
)

// Event is something that has changed in the proxy. Each is a log line too.
type Event struct {
	// ID increases; an event stream continues after the last one that a client has seen.
	ID   uint64    `json:"id"`
	Time time.Time `json:"time"`
	// Level is "info", "warn" or "error".
	Level string `json:"level"`
	// Type is a stable word such as "backend_down"; "log" for a line that has no type of its own.
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
	// Recent are the latest events with an ID greater than after, the oldest first.
	Recent(after uint64) []Event
	// Follow calls send for each event with an ID greater than after, for the Stats that are due
	// if stats is set, and first of all for the history of Stats. It returns when ctx is done, or
	// with the error of send. A receiver that is slow misses messages, and gets a Gap for them.
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

// Gap says that messages are missing.
type Gap struct {
	Missed uint64 `json:"missed"`
}

// Stats are counts at a moment. Counts of events only grow; rates are differences of two Stats.
// An event stream with stats=true has one each second.
type Stats struct {
	Time           time.Time       `json:"time"`
	Connections    int             `json:"connections"`
	MaxConnections int             `json:"max_connections"`
	Listeners      []ListenerStats `json:"listeners"`
	Pools          []PoolStats     `json:"pools"`
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
	// DialP50 and DialP99 are quantiles of the time that dials took, in seconds, since the Stats
	// before; 0 if there were none.
	DialP50 float64 `json:"dial_p50"`
	DialP99 float64 `json:"dial_p99"`
}
