package proxy

import (
	"time"

	"l4proxy/balancer"
)

// promptly: if a backend closes a connection this soon after the connect, and neither side has sent
// a byte, the backend is to blame. Later, the client has had time to send: servers close unused
// connections. A client that gives up must have waited for at least this long.
const promptly = time.Second

// answer notes that the backend has answered: its first byte, or its first byte after the client
// sent more.
func (c *conn) answer(now int64) {
	c.flags = c.flags&^flagAsking | flagAnswered
	if c.pool.Balancer.Ejects() {
		c.backend.Answered(now)
	}
}

// blame reports a connection to the balancer if the backend accepted it and never sent a byte,
// unless the client wanted it that way. A connection that blameSilent has counted is not counted
// again.
func (w *worker) blame(c *conn) {
	if c.connected == 0 || c.flags&(flagAnswered|flagBlamed) != 0 {
		return
	}
	asked := c.flow[clientEnd].bytes > 0
	blamed := false
	pool, now := c.pool, w.loop.Now()
	ended := now
	if c.failed != 0 {
		ended = c.failed // since then, only the other end was served
	}
	silence := balancer.Silence{Client: c.client.Addr(), Asked: c.lastActive, Now: now, Once: pool.countOnce()}
	switch {
	case c.outcome.Side == SideBackend:
		// A client that sends, closes and does not wait for an answer ends first, so it is not
		// counted here.
		blamed = asked || ended-c.connected < int64(promptly)
		silence.Asked, silence.Once = c.connected, 0 // lastActive may be the time of its FIN
	case c.outcome.Side == SideClient:
		// The client gave up waiting. A client that resets at once has not waited, and must not get
		// a backend ejected for other clients.
		blamed = asked && c.outcome.Reason == ReasonReset && ended-c.lastActive >= int64(promptly)
	case c.outcome.Reason == ReasonIdleTimeout || c.outcome.Reason == ReasonHalfCloseTimeout:
		blamed = asked
	}
	if blamed {
		pool.Balancer.Silent(c.backend, silence)
	}
}
