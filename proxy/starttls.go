package proxy

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"l4proxy/clienthello"
	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
)

// StartTLS is how a client may ask for TLS before it sends its ClientHello.
type StartTLS uint8

// The ways. A PostgreSQL client sends an SSLRequest and waits for a byte (PostgreSQL documentation,
// "Message Flow", "SSL Session Encryption"). Without it, a client starts with a ClientHello right
// away (PostgreSQL 17), or does without TLS.
const (
	StartTLSNone StartTLS = iota
	StartTLSPostgres
)

// The requests that a PostgreSQL client may start with: 32 bits for the length in bytes, then 32
// bits for what it asks for (PostgreSQL documentation, "Message Formats").
const (
	postgresSSL     = 80877103
	postgresGSS     = 80877104
	postgresCancel  = 80877102
	postgresHead    = 8     // the length and the code; SSLRequest and GSSENCRequest have no more
	postgresLongest = 10000 // MAX_STARTUP_PACKET_LENGTH
	postgresMajor   = 3     // of the protocol version in a StartupMessage, its upper 16 bits
	tlsHandshake    = 22    // the first byte of a ClientHello
)

// sslRequest is what a backend gets before the ClientHello of a client that has sent the same.
var sslRequest = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, postgresHead), postgresSSL)

// readStartTLS answers the requests of a PostgreSQL client that precede its ClientHello, and takes
// them out of the stream. Each may come once, as in a server: a client that gets no for GSSAPI
// encryption may ask for TLS.
func (w *worker) readStartTLS(c *conn) (more bool, reason Reason) {
	h := c.hello
	switch {
	case len(h.read) == 0:
		return true, ReasonNone
	case h.read[0] == tlsHandshake:
		h.phase = helloClient
		return false, ReasonNone
	case len(h.read) < postgresHead:
		if h.read[0] != 0 { // a length below 10,000 begins with 0
			return false, ReasonBadClientHello
		}
		return true, ReasonNone
	}
	length, code := binary.BigEndian.Uint32(h.read), binary.BigEndian.Uint32(h.read[4:])
	switch {
	case code == postgresSSL && length == postgresHead:
		h.startTLS, h.phase = true, helloClient
		return w.answerRequest(c, 'S')
	case code == postgresGSS && length == postgresHead && !h.plain:
		h.plain = true
		return w.answerRequest(c, 'N')
	case length < postgresHead || length > postgresLongest, code>>16 != postgresMajor && code != postgresCancel:
		return false, ReasonBadClientHello
	}
	w.heard(c, clienthello.Hello{})
	return false, ReasonNone
}

// answerRequest answers a request of 8 bytes, and takes it out of the stream. The send buffer of a
// client that has got two bytes at most takes another one, so the send cannot be short. If the
// client has gone, the next receive says how.
func (w *worker) answerRequest(c *conn, answer byte) (more bool, reason Reason) {
	h := c.hello
	w.answer[0] = answer
	rawsys.Send(w.loop.FD(c.slot(clientEnd)), w.answer[:], unix.MSG_DONTWAIT)
	h.read = h.read[postgresHead:]
	return len(h.read) == 0, ReasonNone
}

// asksForTLS reports whether the client has asked for TLS, and got yes: then each backend is asked
// too, as part of its dial, before it gets the client's bytes.
func (c *conn) asksForTLS() bool { return c.hello != nil && c.hello.startTLS }

// startTLS asks a backend that has answered the dial for TLS. The timer of the dial
// keeps running.
func (w *worker) startTLS(c *conn) {
	w.withdrawHedge(c)
	slot := c.slot(backendEnd)
	out := w.memoryForFirst()
	if c.pool.SendProxy != nil {
		out = w.appendHeader(out, c)
	}
	out = append(out, sslRequest...)
	if n, errno := rawsys.Send(w.loop.FD(slot), out, unix.MSG_DONTWAIT); n < len(out) {
		if errno == 0 {
			errno = unix.ENOBUFS // a new socket always takes as much as this
		}
		w.startTLSFailed(c, outcomeOf(SideBackend, errno))
		return
	}
	w.loop.RecvOnce(slot)
	w.watchDial(c)
}

// startTLSDone handles what the backend has answered: exactly one byte, because it has nothing to
// say before it has got the ClientHello.
func (w *worker) startTLSDone(c *conn, done *eventloop.Completion) {
	yes := false
	if done.N > 0 {
		yes = done.N == 1 && w.loop.Bytes(done.Buffer)[0] == 'S'
		w.loop.Release(done.Buffer)
	}
	switch {
	case yes:
		w.dialOK(c.pool, c.backend, c.dialled)
		w.connected(c, 0)
	case done.Err == unix.ECANCELED: // by the timer
		w.startTLSFailed(c, Outcome{SideBackend, ReasonConnectTimeout, 0})
	case done.Err != 0:
		w.startTLSFailed(c, outcomeOf(SideBackend, done.Err))
	default:
		w.startTLSFailed(c, Outcome{SideBackend, ReasonStartTLSRefused, 0})
	}
}

// startTLSFailed continues with the next backend, as after a failed dial. A backend that has said
// no is available for other clients.
func (w *worker) startTLSFailed(c *conn, o Outcome) {
	pool, b := c.pool, c.backend
	w.countFailed(pool, b, o.Reason)
	if o.Reason == ReasonStartTLSRefused {
		pool.Balancer.OK(b, w.loop.Now())
	} else {
		b.NoteDialError(o.Errno)
		pool.Balancer.Failed(b, c.dialled, w.loop.Now())
	}
	w.loop.Close(c.slot(backendEnd))
	c.flags &^= flagBackend | flagMayHedge
	w.dialFailed(c, o)
}
