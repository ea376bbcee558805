package admin

import "time"

// ConnectionFilter selects live connections. A zero field selects all.
type ConnectionFilter struct {
	Listener string `json:"listener,omitempty"`
	Pool     string `json:"pool,omitempty"`
	// Backend is an address as configured, or the one it resolved to.
	Backend string `json:"backend,omitempty"`
	// From is the prefix that the client's address is in; a single address is one too.
	From Prefix `json:"from,omitzero"`
	// OlderThan is a least age, Idle the least time in which no byte has moved.
	OlderThan Duration `json:"older_than,omitzero"`
	Idle      Duration `json:"idle,omitzero"`
}

// ConnectionQuery are the parameters of GET /api/v1/connections.
type ConnectionQuery struct {
	ConnectionFilter
	// Sort is "age" (the oldest first, the default), "idle", "bytes" or "rate" (the largest first).
	Sort string `json:"sort,omitempty"`
	// Limit is the most connections in the answer; 0 is 100. It is 1000 at most.
	Limit int `json:"limit,omitempty"`
	// After is Next of the page before.
	After string `json:"after,omitempty"`
}

// ConnectionPage is the answer of GET /api/v1/connections.
type ConnectionPage struct {
	// Total is the number of live connections, Matched how many of them the filter selects.
	Total       int          `json:"total"`
	Matched     int          `json:"matched"`
	Connections []Connection `json:"connections"`
	// Next is After of the next page; "" if there is none.
	Next string `json:"next,omitempty"`
}

// Connection is one live connection.
type Connection struct {
	// ID is unique in the process.
	ID       string `json:"id"`
	Listener string `json:"listener"`
	Pool     string `json:"pool"`
	// Client is "unix" for a client of a unix socket.
	Client string `json:"client"`
	// Backend is "" while none was picked.
	Backend string `json:"backend,omitempty"`
	// Peer is the address of the proxy or load balancer that has named the client in a PROXY
	// protocol header. ServerName is the name that the client's ClientHello asks for.
	Peer       string `json:"peer,omitempty"`
	ServerName string `json:"sni,omitempty"`
	// State is "handshake", "connecting", "queued", "open", "half-closed" or "closing".
	State    string    `json:"state"`
	Accepted time.Time `json:"accepted"`
	// Age and Idle are in seconds.
	Age  float64 `json:"age"`
	Idle float64 `json:"idle"`
	// BytesIn are client to backend. The rates are bytes per second over the last second or so.
	BytesIn  uint64  `json:"bytes_in"`
	BytesOut uint64  `json:"bytes_out"`
	RateIn   float64 `json:"rate_in"`
	RateOut  float64 `json:"rate_out"`
	// ClientTCP and BackendTCP are absent for unix sockets.
	ClientTCP  *TCPInfo `json:"client_tcp,omitempty"`
	BackendTCP *TCPInfo `json:"backend_tcp,omitempty"`
	// Traced says that its steps are logged; see DebugRequest.
	Traced bool `json:"traced,omitempty"`
}

// TCPInfo is the kernel's view of one side of a connection (tcp(7), TCP_INFO).
type TCPInfo struct {
	RTT         float64 `json:"rtt"` // seconds
	Retransmits uint32  `json:"retransmits"`
	// Unacked bytes were sent and not acknowledged yet.
	Unacked uint32 `json:"unacked"`
}

// KillRequest are the parameters of DELETE /api/v1/connections.
type KillRequest struct {
	ConnectionFilter
	// ID selects one connection.
	ID string `json:"id,omitempty"`
	// All must be true if nothing else selects.
	All bool `json:"all,omitempty"`
	// Rate is how many connections are ended per second, such as "50/s"; "" is all at once.
	Rate string `json:"rate,omitempty"`
	// DryRun ends none.
	DryRun bool `json:"dry_run,omitempty"`
}

// Kill is the answer of DELETE /api/v1/connections. With a rate, the connections are ended in the
// background.
type Kill struct {
	DryRun  bool `json:"dry_run"`
	Matched int  `json:"matched"`
	// Killed have been ended already.
	Killed int `json:"killed"`
	// Seconds is how long the rest will take.
	Seconds float64 `json:"seconds"`
	// Sample are some of those that matched.
	Sample []Connection `json:"sample"`
}
