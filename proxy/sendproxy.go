package proxy

import (
	"fmt"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
	"l4proxy/proxyproto"
)

// SendProxy says which PROXY protocol header a backend gets, and with which extensions (TLVs).
// Headers of version 1 have no extensions.
type SendProxy struct {
	Version int // 1 or 2
	// PassTLVs passes on those that have come in a header from the client's side.
	PassTLVs bool
	// Authority is the name that the client asks for, ALPN the protocol that it prefers. If no
	// ClientHello was read, they are passed on if they have come in a header.
	Authority, ALPN bool
	// UniqueID is passed on if one has come. Otherwise this process makes it.
	UniqueID bool
	// TLVs are others, as they are sent. They replace those of the same type that have come.
	TLVs []byte
}

// greeted is what greet leaves to do.
type greeted struct {
	rest   []byte        // what the backend did not take yet
	failed [2]unix.Errno // by end
}

// greet sends a backend that has answered the dial what comes before the relayed stream: the PROXY
// protocol header, and the bytes that were read before. If none were read, the header takes the
// first bytes along that wait in the client's socket. If none wait there, the header is sent alone,
// because the client may be waiting for the server to speak first.
//
// errno is that of the dial; see connected.
func (w *worker) greet(c *conn, errno unix.Errno) (g greeted) {
	var read []byte
	if c.hello != nil {
		read, c.hello.read = c.hello.read, nil
	}
	if errno != 0 {
		g.failed[backendEnd] = errno
		return g
	}
	if len(read) > 0 {
		w.clientSent(c)
	}
	if c.pool.SendProxy == nil || c.asksForTLS() { // see startTLS
		g.rest = read
		return g
	}
	out := w.appendHeader(w.memoryForFirst(), c)
	own := len(out)
	if len(read) == 0 {
		n, errno := rawsys.Recv(w.loop.FD(c.slot(clientEnd)), out[own:own+eventloop.BufferSize], unix.MSG_DONTWAIT)
		if out = out[:own+n]; n > 0 {
			w.clientSent(c)
		}
		if errno != 0 && errno != unix.EAGAIN {
			g.failed[clientEnd] = errno
		}
	}
	out = append(out, read...)
	n, errno := rawsys.Send(w.loop.FD(c.slot(backendEnd)), out, unix.MSG_DONTWAIT)
	if errno != 0 && errno != unix.EAGAIN {
		g.failed[backendEnd] = errno
		return g
	}
	c.passed(clientEnd, n-own)
	if n < len(out) {
		g.rest = append(g.rest, out[n:]...)
		c.remember().own = max(0, own-n)
	}
	return g
}

// memoryForFirst is memory for a header and a buffer's worth of the client's bytes. It is used up
// before the next connection needs it.
func (w *worker) memoryForFirst() []byte {
	if w.first == nil {
		w.first = make([]byte, 0, proxyproto.Max+eventloop.BufferSize)
	}
	return w.first[:0]
}

// clientSent notes that bytes of the client are being passed on that did not come by readDone.
func (w *worker) clientSent(c *conn) {
	c.flags |= flagAsking
	if c.flags&flagTraced != 0 {
		w.noteByte(c, clientEnd)
	}
}

// appendHeader appends the header for a backend.
func (w *worker) appendHeader(b []byte, c *conn) []byte {
	p := c.pool.SendProxy
	header := proxyproto.Header{Version: p.Version, Source: c.client}
	if h := c.hello; h != nil && h.destination.IsValid() {
		header.Destination = h.destination
	} else if c.client.IsValid() {
		header.Destination, _ = rawsys.LocalAddr(w.loop.FD(c.slot(clientEnd))) // without one, the header names no address
	}
	if p.Version == 2 {
		w.tlvs = w.appendTLVs(w.tlvs[:0], c)
		header.TLVs = w.tlvs
	}
	return proxyproto.Append(b, header)
}

// appendTLVs appends the extensions of the header for a backend.
func (w *worker) appendTLVs(b []byte, c *conn) []byte {
	p := c.pool.SendProxy
	b = append(b, p.TLVs...)
	if heard := c.hello.heard(); heard != nil {
		if p.Authority && heard.ServerName != "" {
			b = proxyproto.AppendTLV(b, proxyproto.TypeAuthority, heard.ServerName)
		}
		if p.ALPN && len(heard.ALPN) > 0 {
			b = proxyproto.AppendTLV(b, proxyproto.TypeALPN, heard.ALPN[0])
		}
	}
	own := len(b)
	if c.hello != nil {
		for kind, value := range proxyproto.TLVs(c.hello.tlvs) {
			if p.passes(kind) && !hasTLV(b[:own], kind) {
				b = proxyproto.AppendTLV(b, kind, value)
			}
		}
	}
	if p.UniqueID && !hasTLV(b, proxyproto.TypeUniqueID) {
		b = proxyproto.AppendTLV(b, proxyproto.TypeUniqueID, w.uniqueID(c))
	}
	return b
}

// passes reports whether an extension that has come is passed on.
func (p *SendProxy) passes(kind byte) bool {
	return p.PassTLVs ||
		kind == proxyproto.TypeAuthority && p.Authority ||
		kind == proxyproto.TypeALPN && p.ALPN ||
		kind == proxyproto.TypeUniqueID && p.UniqueID
}

func hasTLV(b []byte, kind byte) bool {
	for k := range proxyproto.TLVs(b) {
		if k == kind {
			return true
		}
	}
	return false
}

// uniqueID names the connection for this and other machines: a number that this process has drawn,
// and ConnInfo.ID. All backends that are tried for a client get the same.
func (w *worker) uniqueID(c *conn) string {
	h := c.remember()
	if h.uniqueID == "" {
		h.uniqueID = fmt.Sprintf("%08x-%s", w.server.nonce, w.keyOf(c))
	}
	return h.uniqueID
}
