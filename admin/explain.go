package admin

import "net/netip"

// ExplainQuery are the parameters of GET /api/v1/explain.
type ExplainQuery struct {
	Listener string `json:"listener"`
	// From is the client's address.
	From netip.Addr `json:"from"`
	// SNI is the server name that a TLS client asks for.
	SNI string `json:"sni,omitempty"`
}

// Explain says what would happen to a client that connects now. Nothing is counted or dialed.
type Explain struct {
	Listener string `json:"listener"`
	Client   string `json:"client"`
	// Outcome is "served", "queued", "waits", "denied" or "refused"; Text says all of it in words,
	// one step a line, in the order in which they happen.
	Outcome string   `json:"outcome"`
	Text    []string `json:"text"`
	// ACL is the decision of the access control list.
	ACL ExplainACL `json:"acl"`
	// Pool is "" for a denied client.
	Pool   string `json:"pool,omitempty"`
	Policy string `json:"policy,omitempty"`
	// Backends are those of the pool: first those that would be tried, in that order, then the
	// others, with the reason why not.
	Backends []ExplainBackend `json:"backends"`
	// Limits are what must have room for the client.
	Limits []ExplainLimit `json:"limits"`
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
	// With is what a denied client gets: "message", "close" or "reset".
	With string `json:"with,omitempty"`
}

// ExplainBackend is a backend as the balancer sees it for a client.
type ExplainBackend struct {
	Address string `json:"address"`
	// Turn is 1 for the backend that would be dialed first; 0 for one that would not be tried.
	Turn int `json:"turn"`
	// Score is what the policy compares, the lowest first, if it compares one.
	Score       *float64 `json:"score,omitempty"`
	State       string   `json:"state"`
	Connections int64    `json:"connections"`
	Weight      int      `json:"weight"`
	// MaxConnections is 0 if there is no limit.
	MaxConnections int `json:"max_connections"`
	Priority       int `json:"priority"`
	// Reason is why it has this turn, or none.
	Reason string `json:"reason"`
}

// ExplainLimit is a limit and its room.
type ExplainLimit struct {
	// Name is "process", "listener", "backends" or "queue".
	Name string `json:"name"`
	Used int64  `json:"used"`
	// Limit is 0 if there is none.
	Limit int64 `json:"limit"`
	Room  bool  `json:"room"`
}
