package proxy

import (
	"cmp"
	"net/netip"
	"time"

	"l4proxy/acl"
	"l4proxy/clienthello"
	"l4proxy/eventloop"
	"l4proxy/proxyproto"
)

// Some bytes of a client have to be read before it can be connected: a PROXY protocol header says
// who the client is, and its ClientHello where it wants to go. The connection is in stateHello
// meanwhile, with one timer for all of it. A header is taken out of the stream, everything else is
// passed on untouched.
//
// These bytes are received by RecvOnce: while a client waits for a backend, it may be watched, and
// bytes that the engine had received ahead would get in the way.

// ProxyFrom are the peers that have to send a PROXY protocol header.
type ProxyFrom struct {
	Networks *acl.List // allows them; nil allows none
	Unix     bool      // the peers on unix sockets too
}

// Has reports whether a peer is one of them. The zero Addr is a peer on a unix socket.
func (p *ProxyFrom) Has(peer netip.Addr) bool {
	switch {
	case p == nil:
		return false
	case !peer.IsValid():
		return p.Unix
	}
	return p.Networks != nil && p.Networks.Decide(peer).Allow
}

// hello is what a client has sent before it was connected, and what that said.
type hello struct {
	phase helloPhase
	// read are the bytes that were read and that no backend has got yet, without PROXY protocol
	// header. It is nil once they have been sent.
	read     []byte
	deadline int64 // loop clock: when the phases must be over

	// viaProxy: a PROXY protocol header has come. peer is the address of the peer that has sent it,
	// destination the address that the client had connected to, as the header says (invalid if it
	// does not), and tlvs are its extensions.
	viaProxy    bool
	peer        netip.AddrPort
	destination netip.AddrPort
	tlvs        []byte

	startTLS bool // the client has asked for TLS (StartTLS), and got yes
	plain    bool // the client has asked for encryption other than TLS, and got no
	parser   clienthello.Parser
	routed   bool // hello holds what was found
	hello    clienthello.Hello

	// own counts bytes at the start of what is being sent to the backend that do not come from the
	// client.
	own int
	// uniqueID is what the PROXY protocol header for the backend calls the connection, if anything.
	uniqueID string
}

// helloPhase is what a connection reads in stateHello.
type helloPhase uint8

const (
	helloOver     helloPhase = iota // nothing: the client can be routed
	helloHeader                     // a PROXY protocol header
	helloStartTLS                   // what comes before a ClientHello; see StartTLS
	helloClient                     // a ClientHello
	helloUnknown                    // something that only another version of the program knows; see MovedHello
)

// handshakeDefault is for a client that moves to a process whose configuration reads nothing on its
// listener any more.
const handshakeDefault = 5 * time.Second

// helloNames are the words for helloPhase in MovedHello.Phase.
var helloNames = [...]string{helloOver: "", helloHeader: "proxy_header", helloStartTLS: "starttls", helloClient: "client_hello"}

// ofClient is how many of n bytes that were sent to the backend come from the client.
func (h *hello) ofClient(n int) int {
	own := min(n, h.own)
	h.own -= own
	return n - own
}

// empty reports whether no bytes are kept.
func (h *hello) empty() bool { return h == nil || len(h.read) == 0 }

// heard is the ClientHello by which the client is routed, nil if none was read.
func (h *hello) heard() *clienthello.Hello {
	if h == nil || !h.routed {
		return nil
	}
	return &h.hello
}

// remember returns the connection's hello, and creates it if there is none.
func (c *conn) remember() *hello {
	if c.hello == nil {
		c.hello = new(hello)
	}
	return c.hello
}

// startHello reads the first bytes of a client that has a slot; header says that a PROXY protocol
// header comes first. The deadline counts from here: for a client that was not parked, this is
// right after accept.
func (w *worker) startHello(c *conn, header bool) {
	c.hello = &hello{deadline: w.loop.Now() + int64(c.listener.Handshake)}
	if c.hello.phase = helloHeader; !header {
		c.hello.phase = c.listener.firstPhase()
	}
	c.state = stateHello
	w.loop.SetTimer(c.index, c.hello.deadline)
	w.loop.RecvOnce(c.slot(clientEnd))
}

// firstPhase is what is read of a client whose address is known.
func (l *Listener) firstPhase() helloPhase {
	switch {
	case !l.readsFirst():
		return helloOver
	case l.StartTLS != StartTLSNone:
		return helloStartTLS
	}
	return helloClient
}

// helloDone takes the bytes that have come.
func (w *worker) helloDone(c *conn, done *eventloop.Completion) {
	if done.N == 0 {
		o := Outcome{Side: SideClient, Reason: ReasonClosed}
		if done.Err != 0 {
			o = outcomeOf(SideClient, done.Err)
			c.flow[clientEnd].ended = flowReset
		}
		w.end(c, o)
		return
	}
	c.lastActive = w.loop.Now()
	c.hello.read = append(c.hello.read, w.loop.Bytes(done.Buffer)[:done.N]...)
	w.loop.Release(done.Buffer)
	w.readHello(c)
}

// helloExpired ends a client whose first bytes are late.
func (w *worker) helloExpired(c *conn) {
	w.turnAway(c, nil, Outcome{Side: SideProxy, Reason: ReasonHandshakeTimeout})
}

// readHello continues with the bytes that were read, or waits for more.
func (w *worker) readHello(c *conn) {
	h := c.hello
	for h.phase != helloOver {
		more, reason := false, ReasonNone
		switch h.phase {
		case helloHeader:
			header, n, err := proxyproto.Parse(h.read)
			switch {
			case err != nil:
				reason = ReasonBadProxyHeader
			case n == 0:
				more = true
			case !w.believe(c, &header, n):
				return
			}
		case helloStartTLS:
			more, reason = w.readStartTLS(c)
		case helloClient:
			more, reason = w.readClientHello(c)
		case helloUnknown:
			reason = ReasonError
		case helloOver:
		}
		switch {
		case reason != ReasonNone:
			w.turnAway(c, nil, Outcome{Side: SideProxy, Reason: reason})
			return
		case more:
			w.loop.RecvOnce(c.slot(clientEnd))
			return
		}
	}
	w.loop.StopTimer(c.index)
	w.serve(c)
}

// believe takes what a PROXY protocol header of n bytes says, and decides about the client that it
// names. It reports whether the client may stay.
func (w *worker) believe(c *conn, header *proxyproto.Header, n int) bool {
	h, l := c.hello, c.listener
	h.viaProxy, h.peer = true, c.client
	if header.Source.IsValid() { // else the peer has connected for itself, or names no client
		c.client, h.destination = header.Source, header.Destination
	}
	if len(header.TLVs) > 0 {
		h.tlvs = append([]byte(nil), header.TLVs...)
	}
	if h.read = h.read[n:]; len(h.read) == 0 {
		h.read = nil
	}
	h.phase = l.firstPhase()
	w.followNamed(c)
	v := w.judge(l, c.client.Addr())
	if v.denied {
		w.denyConn(c, v.action, v.reason, v.rule)
		return false
	}
	if v.limited {
		c.flags |= flagLimited
	}
	c.noteShadow(v.shadow)
	return true
}

// followNamed passes on what a traced client's header has said. Now that its address is known,
// another trace may match.
func (w *worker) followNamed(c *conn) {
	if set := w.server.tracer.set.Load(); set != nil && c.flags&flagTraced == 0 {
		if t := w.follow(set, c.listener, c.client, 0); t != nil {
			w.followConn(c, t)
		}
	}
	if c.flags&flagTraced != 0 {
		w.note(c, Step{Kind: StepHeader, Peer: c.hello.peer})
	}
	if c.flags&flagTraced != 0 && c.listener.ACL != nil {
		w.note(c, aclStep(c.listener, c.client.Addr()))
	}
}

// readClientHello looks for a ClientHello in what was read.
func (w *worker) readClientHello(c *conn) (more bool, reason Reason) {
	h := c.hello
	hello, done, err := h.parser.Parse(h.read)
	switch {
	case err != nil, done && h.startTLS && !hello.TLS:
		return false, ReasonBadClientHello
	case !done:
		return true, ReasonNone
	}
	w.heard(c, hello)
	return false, ReasonNone
}

// heard notes what decides about the route.
func (w *worker) heard(c *conn, hello clienthello.Hello) {
	c.hello.hello, c.hello.routed, c.hello.phase = hello, true, helloOver
	if c.flags&flagTraced != 0 {
		w.note(c, Step{Kind: StepHello, Hello: hello})
	}
}

// resumeHello continues a client without a backend that has moved between processes, with the bytes
// that had been read.
func (w *worker) resumeHello(c *conn, read []byte) {
	h := c.hello
	if len(read) > 0 {
		h.read = read
	}
	switch {
	case h.phase != helloOver:
		c.state = stateHello
		// The deadline may come from another process.
		h.deadline = min(h.deadline, w.loop.Now()+int64(cmp.Or(c.listener.Handshake, handshakeDefault)))
		w.loop.SetTimer(c.index, h.deadline)
		w.readHello(c)
	case c.pool == nil:
		w.serve(c)
	default:
		w.dial(c)
	}
}
