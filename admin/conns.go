package admin

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// readingGrace is how long a client may take to read its answer while others wait for a
// connection. With enough connections for all, it is answerTimeout.
const readingGrace = time.Second

// conns bounds the open connections. At the bound, a new connection replaces the one that has
// waited longest without a request that is being answered. So clients that send nothing, or half a
// header, lock no other client out. Nor do those that do not read: if requests are being answered
// on all connections, one goes whose client has not read its answer for readingGrace. If there is
// none, the new one waits, and so do all clients in the accept queue.
type conns struct {
	mu      sync.Mutex
	open    map[net.Conn]*openConn
	all     sync.WaitGroup // of those whose goroutine has not ended
	freed   chan struct{}  // a request was answered, or a connection has ended
	closing chan struct{}  // closed by close
}

func newConns() conns { return conns{freed: make(chan struct{}, 1), closing: make(chan struct{})} }

type openConn struct {
	since    time.Time // it was accepted, or its last request was answered
	handling bool      // a request is being answered
	writing  time.Time // when the answer was ready; zero if it is not
}

type connKey struct{}

// context notes a new connection. net/http calls it before anything else, and accepts no other
// connection meanwhile.
func (c *conns) context(ctx context.Context, conn net.Conn) context.Context {
	c.makeRoom(conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = make(map[net.Conn]*openConn)
	}
	c.all.Add(1)
	open := &openConn{since: time.Now()}
	c.open[conn] = open
	return context.WithValue(ctx, connKey{}, open)
}

// makeRoom closes a connection if there are too many. If none can be closed in time, it closes the
// new one.
func (c *conns) makeRoom(conn net.Conn) {
	late := time.NewTimer(answerTimeout)
	defer late.Stop()
	again := time.NewTicker(readingGrace / 4)
	defer again.Stop()
	for !c.closeOldest() {
		select {
		case <-c.freed:
		case <-again.C: // a client may have taken too long to read
		case <-c.closing:
			_ = conn.Close()
			return
		case <-late.C:
			_ = conn.Close()
			return
		}
	}
}

// closeOldest makes room by closing the connection that has waited longest. It reports whether
// there is room.
func (c *conns) closeOldest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) < MaxConnections {
		return true
	}
	var oldest net.Conn
	for conn, open := range c.open {
		if !open.handling && (oldest == nil || open.since.Before(c.open[oldest].since)) {
			oldest = conn
		}
	}
	if oldest == nil {
		oldest = c.stuck()
	}
	if oldest == nil {
		return false
	}
	delete(c.open, oldest)
	_ = oldest.Close() // its goroutine notices
	return true
}

// stuck is the connection whose client has been reading its answer for longest, and for longer than
// readingGrace.
func (c *conns) stuck() (stuck net.Conn) {
	since := time.Now().Add(-readingGrace)
	for conn, open := range c.open {
		if !open.writing.IsZero() && open.writing.Before(since) {
			stuck, since = conn, open.writing
		}
	}
	return stuck
}

// wake makes makeRoom look again.
func (c *conns) wake() {
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

// changed forgets a connection that has ended.
func (c *conns) changed(conn net.Conn, state http.ConnState) {
	if state == http.StateClosed {
		c.mu.Lock()
		delete(c.open, conn)
		c.mu.Unlock()
		c.wake()
		c.all.Done()
	}
}

// closeWaiting closes all connections without a request that is being answered.
func (c *conns) closeWaiting() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn, open := range c.open {
		if !open.handling {
			_ = conn.Close()
		}
	}
}

// ended is closed when all connections have ended. No new one may come.
func (c *conns) ended() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		c.all.Wait()
		close(ended)
	}()
	return ended
}

// handling notes that a request is being answered until the returned function is called.
func (c *conns) handling(r *http.Request) (ended func()) {
	open, ok := r.Context().Value(connKey{}).(*openConn)
	if !ok { // a test without a connection
		return func() {}
	}
	c.set(open, true)
	return func() {
		c.set(open, false)
		c.wake()
	}
}

func (c *conns) set(open *openConn, handling bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	open.handling, open.since, open.writing = handling, time.Now(), time.Time{}
}

// writing notes that the answer to a request is ready.
func (c *conns) writing(r *http.Request) {
	if open, ok := r.Context().Value(connKey{}).(*openConn); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		open.writing = time.Now()
	}
}
