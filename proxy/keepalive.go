package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/sockopt"
)

// KeepAlive is how the proxy detects a peer that has vanished: the socket options of tcp(7), on
// both sides of every connection. The zero value means [DefaultKeepAlive]. A peer that reads
// nothing but answers probes is kept, whatever Timeout is; see lookAfterPeers.
type KeepAlive = sockopt.KeepAlive

// DefaultKeepAlive probes well within 350 s, after which the strictest of the large clouds drops an
// idle flow. It detects a dead peer after two minutes.
var DefaultKeepAlive = KeepAlive{Idle: time.Minute, Interval: 15 * time.Second, Timeout: 2 * time.Minute}

// keepAliveAfter is the age at which the socket to a backend gets its options. They take four
// system calls, and most connections end before they need them. Clients' sockets inherit the
// options from the listening socket.
const keepAliveAfter = 5 * time.Second

func keepAliveDue(k *KeepAlive) time.Duration { return min(keepAliveAfter, k.Idle/2) }

// keepAliveOf is what the sockets of one end have.
func (w *worker) keepAliveOf(c *conn, end int) *KeepAlive {
	var own *KeepAlive
	if end == clientEnd {
		own = c.listener.KeepAlive
	} else if o := c.pool.Origin; o != nil && o.TCP.KeepAlive != (KeepAlive{}) {
		own = &o.TCP.KeepAlive
	}
	if own == nil {
		own = &w.server.keepAlive
	}
	return own
}

// lookStep: looks are due at multiples of it, so that thousands of quiet connections wake a loop
// only once per second.
const lookStep = 1 << 30 // ns

// nextLook is when the next look at the peers of c is due: once when the connection is old enough
// for keepalive, then four times per KeepAlive.Timeout.
func (w *worker) nextLook(c *conn) int64 {
	k := w.keepAliveOf(c, backendEnd)
	if c.flags&flagKeptAlive == 0 {
		return c.connected + int64(keepAliveDue(k))
	}
	every := int64(min(k.Timeout, w.keepAliveOf(c, clientEnd).Timeout) / 4)
	if every < lookStep {
		return w.loop.Now() + every
	}
	return (w.loop.Now() + every + lookStep - 1) &^ (lookStep - 1)
}

// lookAfterPeers sets keepalive on the backend's socket when it is due, and handles readers that
// pause. It reports whether it has ended the connection.
//
// TCP_USER_TIMEOUT judges a peer by acknowledged bytes alone. A client that waits in a pager for
// two minutes, with its receive window closed, would be reset although it answers every probe. So
// the option is switched off while the window is closed, and lookAfterPeers checks the answers
// instead.
func (w *worker) lookAfterPeers(c *conn) (ended bool) {
	kept := [2]*KeepAlive{w.keepAliveOf(c, clientEnd), w.keepAliveOf(c, backendEnd)}
	if c.flags&flagKeptAlive == 0 {
		if c.connected+int64(keepAliveDue(kept[backendEnd])) > w.loop.Now() {
			return false
		}
		c.flags |= flagKeptAlive
		kept[backendEnd].Set(w.loop.FD(c.slot(backendEnd)))
		if c.listener.Multipath { // its listening socket could not have all of them
			kept[clientEnd].Set(w.loop.FD(c.slot(clientEnd)))
		}
	}
	// If no byte has moved since the last look, and none was on its way then, none is now: quiet
	// connections cost no system call. (A write in flight has filled a send buffer, and a look has
	// seen that.)
	const watched = flagPending | flagPatient | flagPatientBackend
	if c.flags&watched == 0 && w.loop.Now()-c.lastActive > int64(max(kept[0].Timeout, kept[1].Timeout)/2)+lookStep {
		return false
	}
	c.flags &^= flagPending
	for e, k := range kept {
		patient := flagPatient << e
		fd := w.loop.FD(c.slot(e))
		var info unix.TCPInfo
		if rawsys.TCPInfo(fd, &info) != 0 {
			continue // a unix socket
		}
		if info.Notsent_bytes > 0 || info.Unacked > 0 {
			c.flags |= flagPending
		}
		if info.State == tcpClosed && w.endedUnseen(c, e) {
			return true
		}
		// Checked even if no write is in flight: all that there is to send may be in the send
		// buffer for hours.
		shut := info.Notsent_bytes > 0 && info.Snd_wnd < minWindow
		silent := time.Duration(info.Last_ack_recv) * time.Millisecond
		switch {
		case c.flags&patient == 0 && shut && silent < k.Timeout/2:
			c.flags |= patient
			rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0)
		case c.flags&patient != 0 && !shut:
			c.flags &^= patient
			rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(k.Timeout/time.Millisecond))
		case c.flags&patient != 0 && silent > k.Timeout+probesApart:
			// As if the kernel had detected it (see broken): bytes on their way to this peer are
			// not waited for.
			c.flags |= flagResetOut
			c.flow[1-e].ended = flowDead
			w.end(c, Outcome{Side: sideOf(e), Reason: ReasonVanished, Errno: unix.ETIMEDOUT})
			return true
		}
	}
	return false
}

// endedUnseen handles an end that the kernel has given up or reset, if no operation has reported it
// yet. It reports whether it has ended the connection.
//
// A receive in flight may have missed it (see Loop.Recheck). If none is in flight, because the
// other end does not take what was received before, the failure would be noticed only when that
// changes, if ever.
func (w *worker) endedUnseen(c *conn, end int) bool {
	slot := c.slot(end)
	switch {
	case w.loop.Reading(slot) != eventloop.OpNone:
		w.loop.Recheck(slot)
	case c.flow[end].ended == flowOpen && c.flags&flagResetOut == 0:
		errno := rawsys.SocketError(w.loop.FD(slot))
		if errno == 0 {
			// After a FIN each way, the state is the same (TIME_WAIT is kept outside the socket).
			// The bytes and the FIN of this end are still to be read: its stream is complete.
			if c.flow[1-end].ended == flowFIN || c.flags&flagDiscarding != 0 {
				return false
			}
			errno = unix.ECONNRESET
		}
		w.broken(c, end, errno)
		return w.endIfOver(c)
	}
	return false
}

const (
	// tcpClosed is TCP_CLOSE, include/net/tcp_states.h.
	tcpClosed = 7
	// minWindow: a window too small for a segment counts as closed.
	minWindow = 536
	// probesApart is the longest time between the kernel's probes of a closed window (TCP_RTO_MAX).
	probesApart = 2 * time.Minute
)
