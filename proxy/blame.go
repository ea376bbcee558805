package proxy

import "time"

// promptly is how soon after the connect a backend that closes without a word on either side is to blame for it. Later,
// the client had its time to speak: servers close unused connections. A client that gives up has to have waited so long.
const promptly = time.Second

// firstAnswer notes that the backend has sent a byte.
func (c *conn) firstAnswer() {
	c.flags |= flagAnswered
	if c.backend.Suspect() {
		c.backend.Answered()
	}
}

// blame tells the balancer of a connection that the backend took and never said a byte on, when that is not how its
// client wanted it. Whom it was told of before is not counted again.
func (w *worker) blame(c *conn) {
	if c.connected == 0 || c.flags&(flagAnswered|flagBlamed) != 0 {
		return
	}
	asked := c.flow[client].bytes > 0
	blamed := false
	switch {
	case c.outcome.Side == SideBackend:
		// A client who sends, closes and waits for no answer ends first, and is not counted here.
		blamed = asked || w.loop.Now()-c.connected < int64(promptly)
	case c.outcome.Side == SideClient:
		// It gave up waiting. One who resets at once has not waited, and must not have a backend ejected for others.
		blamed = asked && c.outcome.Reason == ReasonReset && w.loop.Now()-c.lastActive >= int64(promptly)
	case c.outcome.Reason == ReasonIdleTimeout || c.outcome.Reason == ReasonHalfCloseTimeout:
		blamed = asked
	}
	if blamed {
		c.listener.Pool.Balancer.Silent(c.backend, w.loop.Now())
	}
}
