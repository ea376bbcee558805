package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// An event stream is a request that does not end (server-sent events, HTML Living Standard,
// section 9.2). Each takes one of the connections, a goroutine and a buffer, and no queue: see
// EventSource. A client that does not read ends its own stream after answerTimeout.

const (
	// MaxStreams is how many event streams are open at once. So they never take all connections.
	MaxStreams = 16
	// heartbeat is how often a stream has a comment, so that both sides notice a dead connection.
	heartbeat = 15 * time.Second
	// retry is how long a client should wait before it connects again.
	retry = time.Second

	streamType = "text/event-stream"
)

// streams are the open event streams of a Server.
type streams struct {
	slots  chan struct{}   // has room for MaxStreams
	ended  context.Context // done when the server shuts down
	end    context.CancelFunc
	silent time.Duration // heartbeat, but for tests
}

func newStreams() streams {
	s := streams{slots: make(chan struct{}, MaxStreams), silent: heartbeat}
	s.ended, s.end = context.WithCancel(context.Background())
	return s
}

// streamEvents serves an event stream until its client has gone, does not read, or the server shuts
// down.
func (s *Server) streamEvents(c *call, query EventQuery, filter eventFilter) error {
	if last := c.r.Header.Get("Last-Event-ID"); last != "" {
		id, err := strconv.ParseUint(last, 10, 64)
		if err != nil {
			return Invalid("Last-Event-ID "+strconv.Quote(shorten(last))+" is not the id of an event", "send one of the stream, or none")
		}
		query.After = id
	}
	// A page of another site cannot read the answer, but it would take a slot for as long as it is
	// open (Fetch Metadata).
	if site := c.r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return &Error{http.StatusForbidden, "cross-origin event stream refused", "open it from a page of this address, or not from a browser"}
	}
	select {
	case s.streams.slots <- struct{}{}:
		defer func() { <-s.streams.slots }()
	default:
		c.w.Header().Set("Retry-After", "10")
		return &Error{http.StatusServiceUnavailable, fmt.Sprintf("all %d event streams are in use", MaxStreams),
			"close a dashboard or a command that follows events, or poll the list of events"}
	}
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	defer context.AfterFunc(s.streams.ended, cancel)()
	header := c.w.Header()
	header.Set("Content-Type", streamType)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Accel-Buffering", "no") // for an nginx in front
	control := http.NewResponseController(c.w)
	// The deadline of the request; net/http takes it for the end of the client.
	_ = control.SetReadDeadline(time.Time{})
	if c.r.Method == http.MethodHead {
		return nil
	}
	out := &eventWriter{w: c.w, control: control, patience: c.patience, filter: filter, ended: s.streams.ended}
	// A client that does not read delays no shutdown.
	defer context.AfterFunc(s.streams.ended, func() { _ = control.SetWriteDeadline(time.Now()) })()
	if out.write(fmt.Appendf(nil, "retry: %d\n\n", retry.Milliseconds())) != nil {
		return nil
	}
	var beating sync.WaitGroup
	defer beating.Wait()
	defer cancel()
	beating.Go(func() { out.beat(ctx, cancel, s.streams.silent) })
	_ = s.events.Follow(ctx, query.After, query.Stats, out.send) // the client has gone
	return nil
}

// eventWriter writes an event stream.
type eventWriter struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	filter   eventFilter
	ended    context.Context // of the server's streams

	mu     sync.Mutex
	buffer bytes.Buffer
}

// send writes a message, unless it is an event that is not selected.
func (o *eventWriter) send(m StreamMessage) error {
	var name, id string
	var value any
	switch {
	case m.Event != nil:
		if !o.filter.selects(m.Event) {
			return nil
		}
		name, id, value = "event", strconv.FormatUint(m.Event.ID, 10), m.Event
	case m.Stats != nil:
		name, value = "stats", m.Stats
	case m.Gap != nil:
		name, value = "gap", m.Gap
	default:
		return o.sendHistory(m.History)
	}
	text, err := json.Marshal(value) // without line ends
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buffer.Reset()
	if id != "" {
		fmt.Fprintf(&o.buffer, "id: %s\n", id)
	}
	fmt.Fprintf(&o.buffer, "event: %s\ndata: %s\n\n", name, text)
	return o.flush(o.buffer.Bytes())
}

// sendHistory writes a history, one line of data for each of the Stats: all of it in one piece
// would stay in memory while the client does not read.
func (o *eventWriter) sendHistory(history []Stats) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.flush([]byte("event: history\ndata: [\n")); err != nil {
		return err
	}
	for i := range history {
		text, err := json.Marshal(&history[i])
		if err != nil {
			return err
		}
		o.buffer.Reset()
		separator := ","
		if i == len(history)-1 {
			separator = ""
		}
		fmt.Fprintf(&o.buffer, "data: %s%s\n", text, separator)
		if err := o.flush(o.buffer.Bytes()); err != nil {
			return err
		}
	}
	return o.flush([]byte("data: ]\n\n"))
}

// write writes a text.
func (o *eventWriter) write(text []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.flush(text)
}

// flush writes a text, and waits for the client for the time of its patience.
func (o *eventWriter) flush(text []byte) error {
	_ = o.control.SetWriteDeadline(time.Now().Add(o.patience))
	if err := o.ended.Err(); err != nil { // the shutdown has set its deadline before
		return err
	}
	if _, err := o.w.Write(text); err != nil {
		return err
	}
	return o.control.Flush()
}

// beat writes a comment at regular intervals, and ends the stream if its client has gone.
func (o *eventWriter) beat(ctx context.Context, end context.CancelFunc, silent time.Duration) {
	ticker := time.NewTicker(silent)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if o.write([]byte(": still here\n\n")) != nil {
				end()
				return
			}
		}
	}
}
