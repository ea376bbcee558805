package proxy

import (
	"time"

	"l4proxy/balancer"
)

// promptly is how soon after the connect a backend that closes without a word on either side is to blame for it. Later,
// the client had its time to speak: servers close unused connections. A client that gives up has to have waited so long.
const promptly = time.Second

// answer notes that the backend has answered the client: its first byte, or its first since the client sent more.
func (c *conn) answer(now int64) {
	c.flags = c.flags&^flagAsking | flagAnswered
	if c.pool.Balancer.Ejects() {
		c.backend.Answered(now)
	}
}

// blame tells the balancer of a connection that the backend took and never said a byte on, when that is not how its
// client wanted it. One that a look has counted is not counted again.
func (w *worker) blame(c *conn) {
	if c.connected == 0 || c.flags&(flagAnswered|flagBlamed) != 0 {
		return
	}
	asked := c.flow[clientEnd].bytes > 0
	blamed := false
	pool, now := c.pool, w.loop.Now()
	ended := now
	if c.failed != 0 {
		ended = c.failed // since then, only the other end was still served
	}
	silence := balancer.Silence{Client: c.peer.Addr(), Asked: c.lastActive, Now: now, Once: pool.countOnce()}
	switch {
	case c.outcome.Side == SideBackend:
		// A client who sends, closes and waits for no answer ends first, and is not counted here.
		blamed = asked || ended-c.connected < int64(promptly)
		silence.Asked, silence.Once = c.connected, 0 // lastActive may be its FIN
	case c.outcome.Side == SideClient:
		// It gave up waiting. One who resets at once has not waited, and must not have a backend ejected for others.
		blamed = asked && c.outcome.Reason == ReasonReset && ended-c.lastActive >= int64(promptly)
	case c.outcome.Reason == ReasonIdleTimeout || c.outcome.Reason == ReasonHalfCloseTimeout:
		blamed = asked
	}
	if blamed {
		pool.Balancer.Silent(c.backend, silence)
	}
}
