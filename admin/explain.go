package admin

import "net/netip"

// ExplainQuery are the parameters of GET /api/v1/explain.
type ExplainQuery struct {
	// Listener may be left out if there is only one.
	Listener string `json:"listener,omitempty"`
	// From is the client's address. It is left out for a client of a unix socket.
	From netip.Addr `json:"from,omitzero"`
	// SNI is the server name that a TLS client asks for, and ALPN the protocols that it offers,
	// separated by commas.
	SNI  string `json:"sni,omitempty"`
	ALPN string `json:"alpn,omitempty"`
	// TLS is false for a client that does not speak TLS. If it is left out, the client does.
	TLS *bool `json:"tls,omitempty"`
}

// Explain says what would happen to a client that connects now. Nothing is counted or dialed.
type Explain struct {
	Listener string `json:"listener"`
	Client   string `json:"client"`
	// Outcome is "served", "queued", "waits", "denied" or "refused"; Text says all of it in words,
	// one step a line, in the order in which they happen.
	Outcome string   `json:"outcome"`
	Text    []string `json:"text"`
	// ProxyHeader says that a peer at this address must send a PROXY protocol header, and the
	// address in it is the client's. The rest is for a header without an address.
	ProxyHeader bool `json:"proxy_header,omitempty"`
	// Ban is the ban of the client's address, if it is banned.
	Ban *Ban `json:"ban,omitempty"`
	// ACL is the decision of the access control list.
	ACL ExplainACL `json:"acl"`
	// Reason is why a client is denied or refused, as in the log and the metrics.
	Reason string `json:"reason,omitempty"`
	// ReadsHello says that the listener has routes, and waits for the client's first bytes. Route
	// is the route that takes the client, if any.
	ReadsHello bool          `json:"reads_hello"`
	Route      *ExplainRoute `json:"route,omitempty"`
	// Pool is that of the route, or of the listener, for a denied client too. It is left out if no
	// pool takes the client.
	Pool   string `json:"pool,omitempty"`
	Policy string `json:"policy,omitempty"`
	// Random says that the policy draws: Backends are in one possible order.
	Random bool `json:"random"`
	// Attempts is the most backends that are dialed for one client.
	Attempts int `json:"attempts"`
	// Backends are those of the pool: first those that would be tried if all before them failed, in
	// that order, then the others, with the reason why not. There are at most 100 of each; Omitted
	// is how many are left out.
	Backends []ExplainBackend `json:"backends"`
	Omitted  int              `json:"omitted"`
	// States is how many backends of the pool are in each state.
	States map[string]int `json:"states"`
	// Limits are what must have room for the client.
	Limits []ExplainLimit `json:"limits"`
}

// ExplainRoute is a route of a listener.
type ExplainRoute struct {
	// Index is the position in the list of routes, from 0. Clients are those that the route takes.
	Index   int    `json:"index"`
	Clients string `json:"clients"`
}

// ExplainACL is a decision of an access control list.
type ExplainACL struct {
	Allowed bool `json:"allowed"`
	// Rule is the name of the rule that matched; Default says that none did.
	Rule    string `json:"rule,omitempty"`
	Default bool   `json:"default"`
	// Prefix is what the address matched, and File the list that it came from, if it did.
	Prefix string `json:"prefix,omitempty"`
	File   string `json:"file,omitempty"`
	// Country and ASN are what the databases of geo say about the client, if there are any.
	Country string `json:"country,omitempty"`
	ASN     uint32 `json:"asn,omitempty"`
	// With is what a denied client gets: "message", "close", "reset", "drop" or "tarpit".
	With string `json:"with,omitempty"`
	// Shadow are the names of the shadow rules that the address meets before: they only count.
	Shadow []string `json:"shadow,omitempty"`
}

// ExplainBackend is a backend as the balancer sees it for a client.
type ExplainBackend struct {
	Address string `json:"address"`
	// Turn is 1 for the backend that would be dialed first, and 2 for the one that follows if that
	// fails; 0 for one that would not be tried. A client makes no more than Attempts dials.
	Turn int `json:"turn"`
	// Score is what the policy compares, the lowest first, if it compares one.
	Score *float64 `json:"score,omitempty"`
	// State is as in the status, or "full".
	State       string `json:"state"`
	Connections int64  `json:"connections"`
	Weight      int    `json:"weight"`
	// MaxConnections is 0 if there is no limit.
	MaxConnections int `json:"max_connections"`
	Priority       int `json:"priority"`
	// Share is the part of its weight that a backend has during its slow start; 1 otherwise.
	Share float64 `json:"share"`
	// Reason is why it has this turn, or none.
	Reason string `json:"reason"`
}

// ExplainLimit is a limit and its room.
type ExplainLimit struct {
	// Name is "process", "shared" (what the process has beyond the reserved shares of listeners),
	// "listener", "client" (per_client.connections), "client_rate" (how much of per_client.burst
	// the client has used), "pool", "backends" (all that are not down, drained or ejected) or
	// "queue".
	Name string `json:"name"`
	Used int64  `json:"used"`
	// Limit is 0 if there is none.
	Limit int64 `json:"limit"`
	Room  bool  `json:"room"`
}
