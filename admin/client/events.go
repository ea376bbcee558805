package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"l4proxy/admin"
)

const (
	// streamSilence is how long a stream may be silent before it counts as dead. The proxy writes
	// something every 15s.
	streamSilence = 45 * time.Second
	// firstRetry and lastRetry are the times between two attempts to reconnect.
	firstRetry = 250 * time.Millisecond
	lastRetry  = 5 * time.Second
	// maxMessage bounds a message of a stream.
	maxMessage = 32 << 20
)

// Events asks for the latest events.
func (c *Client) Events(ctx context.Context, query admin.EventQuery) (*admin.Events, error) {
	return do[admin.Events](ctx, c, http.MethodGet, "/api/v1/events"+eventValues(query), nil)
}

func eventValues(q admin.EventQuery) string {
	v := url.Values{}
	if q.After > 0 {
		v.Set("after", strconv.FormatUint(q.After, 10))
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Type != "" {
		v.Set("type", q.Type)
	}
	if q.Level != "" {
		v.Set("level", q.Level)
	}
	if q.Stats {
		v.Set("stats", "true")
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

// Follow calls receive for each message of an event stream, on this goroutine. When the connection
// is lost, as at a restart or an upgrade of the proxy, it calls lost, if that is set, with the
// reason, reconnects, and continues after the last event. It returns when ctx is done (then with
// nil), with the error of receive, or with an error if the first attempt fails or the proxy
// refuses.
func (c *Client) Follow(ctx context.Context, query admin.EventQuery, receive func(admin.StreamMessage) error, lost func(error)) error {
	connected := false
	for wait := firstRetry; ; {
		err := c.stream(ctx, &query, func(m admin.StreamMessage) error {
			connected, wait = true, firstRetry
			if m.Event != nil {
				query.After = m.Event.ID
			}
			if err := receive(m); err != nil {
				return receiverError{err}
			}
			return nil
		}, func() { connected = true })
		refused, received := new(admin.Error), receiverError{}
		switch {
		case errors.As(err, &received):
			return received.error
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &refused) && refused.Status != http.StatusServiceUnavailable, !connected:
			return err
		}
		if lost != nil {
			lost(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// receiverError is an error of the receiver, which ends a stream for good.
type receiverError struct{ error }

// stream reads one stream to its end, which is always an error.
func (c *Client) stream(ctx context.Context, query *admin.EventQuery, receive func(admin.StreamMessage) error, opened func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, err := c.request(ctx, http.MethodGet, "/api/v1/events"+eventValues(*query), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream")
	// A process that hangs accepts connections.
	silence := time.AfterFunc(c.read, func() { cancel(timeoutError{c.read}) })
	defer silence.Stop()
	response, err := c.http.Do(r)
	if err != nil {
		return c.unreachable(ctx, withoutURL(err))
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
		if err != nil {
			return c.unreachable(ctx, err)
		}
		return c.refusal(response, text)
	}
	opened()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxMessage)
	var name string
	var data []byte
	for lines.Scan() {
		silence.Reset(streamSilence)
		line := lines.Bytes()
		key, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0:
			if len(data) > 0 {
				m, known, err := message(name, data)
				if err != nil {
					return c.foreign(err.Error())
				}
				if known {
					err = receive(m)
				}
				if err != nil {
					return err
				}
			}
			name, data = "", nil
		case string(key) == "event":
			name = string(value)
		case string(key) == "data":
			data = append(data, value...)
		}
	}
	if err := lines.Err(); err != nil {
		return c.unreachable(ctx, err)
	}
	return c.unreachable(ctx, errors.New("the stream has ended"))
}

// message reads one message of a stream. A newer proxy may send kinds that this program does not
// know.
func message(name string, data []byte) (m admin.StreamMessage, known bool, err error) {
	var into any
	switch name {
	case "event":
		m.Event = new(admin.Event)
		into = m.Event
	case "stats":
		m.Stats = new(admin.Stats)
		into = m.Stats
	case "history":
		into = &m.History
	case "gap":
		m.Gap = new(admin.Gap)
		into = m.Gap
	default:
		return m, false, nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return m, false, fmt.Errorf("a message of its stream is not JSON: %w", err)
	}
	return m, true, nil
}
