package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
	"l4proxy/eventloop/rawsys"
)

// resourceRetry is the pause before a dial that lacked a descriptor or memory is tried again.
const resourceRetry = 100 * time.Millisecond

// dial picks a backend that this client has not tried yet and starts to connect to it. What the client sends meanwhile
// waits in its socket.
func (w *worker) dial(index uint32, c *conn) {
	pool := c.listener.Pool
	now := w.loop.Now()
	b := pool.Policy.Pick(now, c.tried)
	if b == nil {
		if c.outcome.Reason == ReasonNone {
			c.outcome = Outcome{SideProxy, ReasonNoBackend}
		}
		w.end(index, c, c.outcome)
		return
	}
	c.backend, c.flags = b, c.flags|flagCounted
	addr := pool.Addrs[b.Index]
	fd, errno := rawsys.Socket(addr.Family(), unix.SOCK_STREAM|w.loop.SocketFlags(), 0)
	switch errno {
	case 0:
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		w.waitForResources(index, c)
		return
	default: // a machine without IPv6 (EAFNOSUPPORT), a security profile: no client will reach this backend from here
		c.attempts++
		pool.Policy.Failed(b, now)
		w.dialFailed(index, c, Outcome{SideBackend, ReasonConnectUnreachable})
		return
	}
	if addr.Family() != unix.AF_UNIX {
		rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		w.saveAcks(c, w.loop.FD(slotOf(index, client)), fd)
	}
	slot := slotOf(index, server)
	w.loop.Attach(slot, fd)
	w.loop.Connect(slot, addr)
	w.leaveWaiting(c)
	c.state = stateDialling
	c.flags |= flagBackend
	c.dialled = now
	c.attempts++
	w.loop.SetTimer(index, now+int64(pool.ConnectTimeout))
}

// waitForResources tries again shortly, for as long as a dial may take: descriptors come back as connections end.
func (w *worker) waitForResources(index uint32, c *conn) {
	w.uncount(c)
	c.backend = nil
	now := w.loop.Now()
	if c.state != stateWaiting {
		c.state = stateWaiting
		c.lastActive = now // not c.accepted: it may have been parked for long, or dialled another backend
		w.server.waiting.Add(1)
		w.server.dialShort(c.listener)
	} else if now-c.lastActive > int64(c.listener.Pool.ConnectTimeout) {
		w.end(index, c, Outcome{SideProxy, ReasonLocalResources})
		return
	}
	w.loop.SetTimer(index, now+int64(resourceRetry))
}

func (w *worker) leaveWaiting(c *conn) {
	if c.state == stateWaiting {
		w.server.waiting.Add(-1)
	}
}

// dialExpired ends a dial that took too long; the completion of the cancelled connect goes on from there.
func (w *worker) dialExpired(index uint32, c *conn) {
	w.loop.CancelWrite(slotOf(index, server))
}

// dialDone goes on to relaying, or to the next backend.
func (w *worker) dialDone(index uint32, c *conn, done *eventloop.Completion) {
	pool := c.listener.Pool
	if done.Err == 0 {
		pool.Policy.OK(c.backend)
		if c.flags&flagSpeaksLater != 0 {
			rawsys.SetInt(w.loop.FD(done.Slot), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
		}
		w.relay(index, c)
		return
	}
	if done.Err == unix.ECONNRESET || done.Err == unix.EPIPE {
		// The handshake was completed (a refusal is ECONNREFUSED): the backend has reset the connection since then, and
		// may have said something before.
		pool.Policy.OK(c.backend)
		w.relay(index, c)
		w.broken(index, c, server, done.Err)
		return
	}
	outcome, peersFault := dialOutcome(done.Err)
	if peersFault {
		pool.Policy.Failed(c.backend, w.loop.Now())
	}
	w.loop.Close(done.Slot)
	c.flags &^= flagBackend
	w.dialFailed(index, c, outcome)
}

// dialFailed goes on to the next backend, if there may be one.
func (w *worker) dialFailed(index uint32, c *conn, o Outcome) {
	c.outcome = o
	w.uncount(c)
	if c.tried = append(c.tried, c.backend); len(c.tried) >= c.listener.Pool.Attempts {
		w.end(index, c, c.outcome)
		return
	}
	w.dial(index, c)
}

// dialOutcome says what an error of connect(2) means, and whether it says anything about the backend.
func dialOutcome(errno unix.Errno) (o Outcome, peersFault bool) {
	switch errno {
	case unix.ECONNREFUSED,
		unix.ENOENT, unix.EAGAIN, unix.EACCES, unix.EPROTOTYPE, unix.ELOOP, unix.ENOTDIR: // of a unix socket
		return Outcome{SideBackend, ReasonConnectRefused}, true
	case unix.ETIMEDOUT, unix.ECANCELED: // cancelled by the timer
		return Outcome{SideBackend, ReasonConnectTimeout}, true
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN:
		return Outcome{SideBackend, ReasonConnectUnreachable}, true
	case unix.EADDRNOTAVAIL, unix.EADDRINUSE:
		return Outcome{SideProxy, ReasonLocalPorts}, false
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		return Outcome{SideProxy, ReasonLocalResources}, false
	}
	return Outcome{SideProxy, ReasonError}, false // EPERM of a local firewall, and what we have not thought of
}

// uncount takes the connection off its backend.
func (w *worker) uncount(c *conn) {
	if c.flags&flagCounted != 0 {
		c.flags &^= flagCounted
		c.listener.Pool.Policy.Done(c.backend)
	}
}

// saveAcks has the kernel put acknowledgements into packets that are about to be sent anyway (TCP_QUICKACK off, tcp(7)):
// two of the 20 packets of a short connection through the proxy.
//
// When the client's first bytes are here already, the ACK of the backend's SYN-ACK can go with them, and later that of
// the backend's first bytes with the FIN. When they are not, the former must not wait: with a protocol in which the
// server speaks first, nothing would follow for 200 ms. But then the ACK of the client's first bytes can go with the
// answer to them.
func (w *worker) saveAcks(c *conn, clientFD, backendFD int) {
	if rawsys.Unread(clientFD) > 0 {
		rawsys.SetInt(backendFD, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
		return
	}
	rawsys.SetInt(clientFD, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
	c.flags |= flagSpeaksLater
}
