package proxy

import (
	"math"
	"time"
)

const (
	// quietFor is how long no byte must have moved before a connection counts as quiet: a client
	// that sends one request after another is then between two of them.
	quietFor = 250 * time.Millisecond
	// lifetimeJitter is the share of its lifetime, as a divisor, by which a connection may end
	// earlier. Connections that began together then do not end together.
	lifetimeJitter = 10
	// lifetimeGrace is how long a connection that is past its lifetime may take to become quiet. It
	// is never longer than the lifetime itself.
	lifetimeGrace = time.Minute
)

// quiet reports whether the connection can be ended with a FIN without cutting off a request: no
// byte has moved for quietFor, the client has sent nothing since the backend's last answer, and no
// byte is on its way. A proxy that does not know the protocol cannot see more than that.
func (w *worker) quiet(c *conn) bool {
	return c.state == stateRelaying && c.flags&(flagHalfClosed|flagResetOut|flagAsking) == 0 &&
		w.loop.Now()-c.lastActive >= int64(quietFor) && !w.cutsShort(c) && !w.unsent(c)
}

// cutOff ends a connection that may be in use. Unless it is quiet, both peers get a reset, even if
// at this moment no byte is on its way: after a FIN, an incomplete stream would look complete.
func (w *worker) cutOff(c *conn, o Outcome) {
	if c.state == stateRelaying && !w.quiet(c) {
		c.flags |= flagResetOut
	}
	w.end(c, o)
}

// chance is a number from 0 to 2^32-1 that differs between connections. It depends only on what is
// handed over with a connection, so that another process computes the same one. All clients that
// are accepted in one batch have the same time, so the port counts too. Clients of unix sockets
// have no port; their indices differ.
func (c *conn) chance() int64 {
	x := uint64(c.accepted)
	if c.client.IsValid() {
		x ^= uint64(c.client.Port()) << 48
	} else {
		x ^= uint64(c.index) << 32
	}
	// The finalizer of SplitMix64: every bit of the result depends on every bit of x.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int64((x ^ x>>31) >> 32)
}

// part returns chance/2^32 of d.
func part(d time.Duration, chance int64) int64 {
	return int64(float64(d) * float64(chance) / (1 << 32))
}

// lifeEnds is when the connection is past its lifetime, and when it is ended even if it is not
// quiet. A client that has waited for long to be connected still gets the whole grace.
func (c *conn) lifeEnds() (soft, hard int64) {
	lifetime := c.listener.Lifetime
	if lifetime == 0 || c.flags&flagResetOut != 0 { // a failed end limits the rest; see conn.limit
		return math.MaxInt64, math.MaxInt64
	}
	soft = c.accepted + int64(lifetime) - part(lifetime/lifetimeJitter, c.chance())
	hard = max(soft, c.connected) + int64(min(lifetime, lifetimeGrace))
	return soft, hard
}

// nextLifeCheck is when endIfOld has to be called next.
func (w *worker) nextLifeCheck(c *conn) int64 {
	soft, hard := c.lifeEnds()
	now := w.loop.Now()
	if now < soft {
		return soft
	}
	due := c.lastActive + int64(quietFor)
	if due <= now { // something else than a byte that moved has kept it from being quiet
		due = now + int64(quietFor)
	}
	return min(due, hard)
}

// endIfOld ends a connection that is past its lifetime, if it is quiet or its grace is over. It
// reports whether it has.
func (w *worker) endIfOld(c *conn) bool {
	soft, hard := c.lifeEnds()
	// Looked, not Now: after a pause, bytes may be waiting.
	if soft > w.loop.Looked() || hard > w.loop.Looked() && !w.quiet(c) {
		return false
	}
	w.cutOff(c, Outcome{Side: SideProxy, Reason: ReasonLifetime})
	return true
}
