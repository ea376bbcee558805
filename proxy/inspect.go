package proxy

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// A ConnFilter selects live connections. A zero field selects all.
type ConnFilter struct {
	Listener string
	Pool     string
	// Backend is an address as configured, or the one it resolved to.
	Backend string
	// From is the prefix that the client's address is in. Clients of unix sockets are in none.
	From netip.Prefix
	// OlderThan is a least age, Idle the least time in which no byte has moved.
	OlderThan, Idle time.Duration
	// ID is ConnInfo.ID of a single connection.
	ID string
}

// ConnSort is an order of connections.
type ConnSort string

// The orders: the first connection is the oldest, the longest idle, the one with the most bytes, or
// the one with the highest rate.
const (
	SortAge   ConnSort = "age"
	SortIdle  ConnSort = "idle"
	SortBytes ConnSort = "bytes"
	SortRate  ConnSort = "rate"
)

// ConnQuery asks for a page of connections.
type ConnQuery struct {
	ConnFilter
	Sort ConnSort // "" is SortAge
	// Limit is the most connections of the page.
	Limit int
	// After is ConnPage.Next of the page before; "" asks for the first page.
	After string
	// Hurry leaves rates at 0 that are not known yet, instead of waiting for them.
	Hurry bool
}

// ConnPage is a page of connections.
type ConnPage struct {
	// Total is the number of live connections, Matched how many of them the filter selects. On a
	// later page of an order other than SortAge, Matched is that of the first page.
	Total, Matched int
	Conns          []ConnInfo
	// Next is ConnQuery.After of the next page; "" if there is none.
	Next string
}

// ConnInfo describes a live connection.
type ConnInfo struct {
	// ID is unique among all connections of this process.
	ID       string
	Listener string
	Pool     string         // "" for a client that was turned away before it was routed
	Client   netip.AddrPort // the zero value for a client of a unix socket
	// ViaProxy, Peer and ServerName are those of Record.
	ViaProxy   bool
	Peer       netip.AddrPort
	ServerName string
	Backend    string // as configured; "" while none was picked
	State      ConnState
	// Age is the time since accept, Idle the time in which no byte has moved.
	Age, Idle time.Duration
	// BytesIn are client to backend, as far as they were written. The rates are bytes per second.
	BytesIn, BytesOut uint64
	RateIn, RateOut   float64
	// ClientTCP and BackendTCP are nil for unix sockets and for sockets that are not open.
	ClientTCP, BackendTCP *ConnTCP
	// Traced says that its steps are recorded; see Options.Step.
	Traced bool
}

// ConnTCP is the kernel's view of one side of a connection (tcp(7), TCP_INFO).
type ConnTCP struct {
	RTT         time.Duration // smoothed
	Retransmits uint32        // segments, since the connection began
	Unacked     uint32        // bytes that were sent and not acknowledged yet
}

// ConnState is what a connection does, for people.
type ConnState string

// The states.
const (
	ConnHandshake  ConnState = "handshake"   // a PROXY protocol header or a ClientHello is being read
	ConnConnecting ConnState = "connecting"  // a backend is being dialled
	ConnQueued     ConnState = "queued"      // it waits for a backend
	ConnOpen       ConnState = "open"        // bytes go both ways
	ConnHalfClosed ConnState = "half-closed" // one side has finished sending
	ConnClosing    ConnState = "closing"     // its outcome is known
)

// ErrExpired is returned for an After whose list is no longer kept.
var ErrExpired = errors.New("this list is no longer kept")

// ErrAfter is returned for an After that does not fit the query.
var ErrAfter = errors.New("after is not from the page before")

// inspector is what listing connections needs between two requests.
type inspector struct {
	// walking holds a token while connections are walked: one walk at a time bounds the memory.
	walking chan struct{}
	rates   rates
	lists   lists
}

func newInspector() inspector { return inspector{walking: make(chan struct{}, 1)} }

// ListConnections returns a page of live connections. It visits the loops in slices, so that none
// of them is held up, and connections may come and go meanwhile. Following the pages by
// ConnPage.Next shows no connection twice, and misses none that lives all the while.
//
// If the rate of a connection is not known yet, it waits for a quarter of a second, without Hurry.
func (s *Server) ListConnections(ctx context.Context, q ConnQuery) (*ConnPage, error) {
	if q.Sort == "" {
		q.Sort = SortAge
	}
	found, err := s.find(ctx, &q)
	if err != nil {
		return nil, err
	}
	page := &ConnPage{Total: s.Connections(), Matched: found.matched}
	var last int
	page.Conns, last, err = s.describe(ctx, &q, found.keys)
	if err != nil {
		return nil, err
	}
	if last < len(found.keys) {
		page.Next = found.next(&s.inspect.lists, last)
	}
	return page, nil
}

// describe describes up to q.Limit of the connections that still match, in their order, and returns
// the number of keys that it has used.
func (s *Server) describe(ctx context.Context, q *ConnQuery, keys []connKey) (infos []ConnInfo, used int, err error) {
	infos = make([]ConnInfo, 0, min(q.Limit, len(keys)))
	var shown []connKey
	for used < len(keys) && len(infos) < q.Limit {
		part := keys[used:min(len(keys), used+q.Limit-len(infos))]
		used += len(part)
		found, err := s.details(ctx, &q.ConnFilter, part)
		if err != nil {
			return nil, 0, err
		}
		for i, d := range found {
			if d.found {
				infos = append(infos, d.ConnInfo)
				shown = append(shown, part[i])
			}
		}
	}
	return infos, used, s.addRates(ctx, q, shown, infos)
}

// stateOf is the state of a connection for people.
func (w *worker) stateOf(c *conn) ConnState {
	state := c.state
	if l := w.leavers[c.index]; l != nil && (state == stateLeaving || state == stateMoving) {
		state = l.was
	}
	switch state {
	case stateHello:
		return ConnHandshake
	case stateDialling, stateRetrying:
		return ConnConnecting
	case stateQueued:
		return ConnQueued
	case stateRelaying:
		switch {
		case c.flags&flagResetOut != 0: // one end has failed
			return ConnClosing
		case c.flags&flagHalfClosed != 0:
			return ConnHalfClosed
		}
		return ConnOpen
	case stateNone, stateTurnedAway, stateLeaving, stateMoving, stateClosing, stateFlushing:
	}
	return ConnClosing
}

// info describes a connection, without its rates.
func (w *worker) info(c *conn) ConnInfo {
	now, passed := w.loop.Now(), c.bytesPassed()
	info := ConnInfo{
		ID:       w.keyOf(c).String(),
		Listener: c.listener.Name,
		Client:   c.client,
		State:    w.stateOf(c),
		Age:      time.Duration(now - c.accepted),
		Idle:     time.Duration(now - c.lastActive),
		BytesIn:  passed[clientEnd],
		BytesOut: passed[backendEnd],
		Traced:   c.flags&flagTraced != 0,
	}
	if h := c.hello; h != nil {
		info.ViaProxy, info.Peer, info.ServerName = h.viaProxy, h.peer, h.hello.ServerName
	}
	if c.pool != nil {
		info.Pool = c.pool.Name
	}
	if c.backend != nil {
		info.Backend = c.backend.Address
	}
	info.ClientTCP, info.BackendTCP = w.tcpInfo(c, clientEnd), w.tcpInfo(c, backendEnd)
	return info
}

// bytesPassed are the bytes that were passed on, by the end that sent them. Those of a client that
// is turned away are discarded.
func (c *conn) bytesPassed() (bytes [2]uint64) {
	if c.state == stateTurnedAway {
		return bytes
	}
	return [2]uint64{c.flow[clientEnd].bytes, c.flow[backendEnd].bytes}
}

// tcpInfo asks the kernel about one end.
func (w *worker) tcpInfo(c *conn, end int) *ConnTCP {
	if c.flags&(flagClient<<end) == 0 {
		return nil
	}
	fd := w.loop.FD(c.slot(end))
	var info unix.TCPInfo
	if rawsys.TCPInfo(fd, &info) != 0 {
		return nil
	}
	// Unacked of the kernel counts segments. In its send queue are bytes, also those not yet sent.
	return &ConnTCP{
		RTT:         time.Duration(info.Rtt) * time.Microsecond,
		Retransmits: info.Total_retrans,
		Unacked:     uint32(max(0, rawsys.Unsent(fd)-int(info.Notsent_bytes))),
	}
}
