package proxy

import (
	"cmp"
	"slices"
	"time"
)

// Left describes connections that are open, for the report of a drain.
type Left struct {
	Connections int            `json:"connections"` // including those being dialled or turned away
	Listeners   []LeftListener `json:"listeners"`   // those that have any, most connections first
	Backends    []LeftBackend  `json:"backends"`    // the same
	Oldest      []LeftConn     `json:"oldest"`      // the oldest first
}

// LeftListener is the number of open connections of a listener.
type LeftListener struct {
	Listener    string `json:"listener"`
	Connections int    `json:"connections"`
}

// LeftBackend is the number of open connections of a backend.
type LeftBackend struct {
	Pool        string `json:"pool"`
	Backend     string `json:"backend"`
	Connections int    `json:"connections"`
}

// LeftConn is an open connection.
type LeftConn struct {
	Listener string  `json:"listener"`
	Client   string  `json:"client"` // "unix" for a client of a unix socket
	Pool     string  `json:"pool,omitempty"`
	Backend  string  `json:"backend,omitempty"` // empty while none is known
	Age      float64 `json:"age"`               // seconds since accept
	Idle     float64 `json:"idle"`              // seconds since the last byte
	BytesIn  uint64  `json:"bytes_in"`
	BytesOut uint64  `json:"bytes_out"`
}

// Left describes the open connections, with no more than most of the oldest ones. It waits for the
// loops; when they have ended, only the number of connections is known.
func (s *Server) Left(most int) *Left {
	all := &Left{
		Connections: s.Connections(),
		Listeners:   []LeftListener{}, Backends: []LeftBackend{}, Oldest: []LeftConn{}, // lists in JSON, never null
	}
	found, ok := ask(s, func(w *worker) *leftHere { return w.left(most) })
	if !ok {
		return all
	}
	total := newLeftHere(most)
	for _, here := range found {
		total.merge(here)
	}
	for name, n := range total.listeners {
		all.Listeners = append(all.Listeners, LeftListener{name, n})
	}
	slices.SortFunc(all.Listeners, func(a, b LeftListener) int {
		return cmp.Or(cmp.Compare(b.Connections, a.Connections), cmp.Compare(a.Listener, b.Listener))
	})
	for b, n := range total.backends {
		all.Backends = append(all.Backends, LeftBackend{b.pool, b.address, n})
	}
	slices.SortFunc(all.Backends, func(a, b LeftBackend) int {
		return cmp.Or(cmp.Compare(b.Connections, a.Connections), cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Backend, b.Backend))
	})
	all.Oldest = append(all.Oldest, total.oldest...)
	return all
}

// leftHere is what one worker contributes to a Left.
type leftHere struct {
	most      int
	listeners map[string]int
	backends  map[leftBackend]int
	oldest    []LeftConn
}

type leftBackend struct{ pool, address string }

func newLeftHere(most int) *leftHere {
	return &leftHere{most: most, listeners: make(map[string]int), backends: make(map[leftBackend]int)}
}

func (w *worker) left(most int) *leftHere {
	l := newLeftHere(most)
	now := w.loop.Now()
	w.connections(func(c *conn) {
		l.listeners[c.listener.Name]++
		if c.backend != nil {
			l.backends[leftBackend{c.pool.Name, c.backend.Address}]++
		}
		if age := seconds(now - c.accepted); l.isOld(age) {
			l.keep(c.left(age, now))
		}
	})
	return l
}

// isOld reports whether a connection of an age belongs to the oldest.
func (l *leftHere) isOld(age float64) bool {
	n := len(l.oldest)
	return n < l.most || n > 0 && age > l.oldest[n-1].Age
}

// keep puts a connection among the oldest.
func (l *leftHere) keep(c LeftConn) {
	if len(l.oldest) == l.most {
		l.oldest = l.oldest[:l.most-1]
	}
	at, _ := slices.BinarySearchFunc(l.oldest, c, func(a, b LeftConn) int { return cmp.Compare(b.Age, a.Age) })
	l.oldest = slices.Insert(l.oldest, at, c)
}

func (l *leftHere) merge(other *leftHere) {
	for name, n := range other.listeners {
		l.listeners[name] += n
	}
	for b, n := range other.backends {
		l.backends[b] += n
	}
	for _, c := range other.oldest {
		if l.isOld(c.Age) {
			l.keep(c)
		}
	}
}

func (c *conn) left(age float64, now int64) LeftConn {
	l := LeftConn{
		Listener: c.listener.Name,
		Client:   "unix",
		Age:      age,
		Idle:     seconds(now - c.lastActive),
		BytesIn:  c.flow[clientEnd].bytes,
		BytesOut: c.flow[backendEnd].bytes,
	}
	if c.client.IsValid() {
		l.Client = c.client.String()
	}
	if c.pool != nil {
		l.Pool = c.pool.Name
	}
	if c.backend != nil {
		l.Backend = c.backend.Address
	}
	return l
}

// seconds is a time in seconds, to the millisecond.
func seconds(ns int64) float64 { return float64(time.Duration(ns).Milliseconds()) / 1e3 }
