package admin

import (
	"context"
	"slices"
	"time"
)

// View is what the API shows. Several goroutines use it at once.
type View interface {
	// Alive returns an error if an event loop does not answer before ctx is done.
	Alive(ctx context.Context) error
	// NotReady says why new clients should not be sent here; "" if they should.
	NotReady() string
	// Status is a snapshot.
	Status() *Status
}

// Status is the answer of GET /api/v1/status. Names are stable: fields are added, never renamed.
type Status struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`
	// Started is when the process started, in UTC; Uptime is in seconds.
	Started time.Time `json:"started"`
	Uptime  float64   `json:"uptime"`
	Ready   bool      `json:"ready"`
	// NotReady says why it is not ready.
	NotReady string `json:"not_ready,omitempty"`

	Engine         string `json:"engine"`
	Workers        int    `json:"workers"`
	Connections    int    `json:"connections"`
	MaxConnections int    `json:"max_connections"`

	// Problems are what an operator should look at, what clients notice first. It is not nil.
	Problems []Problem `json:"problems"`

	Config    ConfigStatus     `json:"config"`
	Listeners []ListenerStatus `json:"listeners"`
	Pools     []PoolStatus     `json:"pools"`
	// Drains are what an operator has taken out of service.
	Drains []Drain `json:"drains,omitempty"`
	// Upgrading says that an upgrade is in progress.
	Upgrading bool `json:"upgrading"`
	// Demo says that the backends are those of a demo; see DemoBackend.
	Demo bool `json:"demo,omitempty"`
}

// Problem is something that an operator should look at.
type Problem struct {
	// Level is "error" if clients are not served because of it, "warn" if they could be soon, and
	// "info" for what an operator has asked for.
	Level string `json:"level"`
	// Kind is a stable word such as "pool_down".
	Kind string `json:"kind"`
	// Text says all of it in words.
	Text string `json:"text"`
	// What it is about, as far as it is about one of them.
	Listener string `json:"listener,omitempty"`
	Pool     string `json:"pool,omitempty"`
	Backend  string `json:"backend,omitempty"`
}

// ConfigStatus is about the configuration in use.
type ConfigStatus struct {
	// File is "" if the configuration came from the environment alone.
	File string `json:"file"`
	// Generation counts the configurations that were put into effect, the first being 1. AppliedAt
	// is when that was last done, by a reload, a rollback or the start.
	Generation uint64    `json:"generation"`
	AppliedAt  time.Time `json:"applied_at"`
	// LastOK says that the last reload did not fail; true before the first.
	LastOK      bool       `json:"last_ok"`
	LastSuccess *time.Time `json:"last_success,omitempty"`
	LastFailure *Failure   `json:"last_failure,omitempty"`
	// Reloading says that a reload is in progress; Blocked why none is allowed.
	Reloading bool   `json:"reloading"`
	Blocked   string `json:"blocked,omitempty"`
	// Unconfirmed is set if the configuration is rolled back unless it is kept.
	Unconfirmed  *Unconfirmed  `json:"unconfirmed,omitempty"`
	LastRollback *RollbackDone `json:"last_rollback,omitempty"`
	// Watching says that a change of a file leads to a reload.
	Watching bool `json:"watching"`
}

// Failure is a reload that was refused.
type Failure struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

// RollbackDone is a change that was rolled back.
type RollbackDone struct {
	At time.Time `json:"at"`
	// From is the generation that was rolled back.
	From   uint64 `json:"from"`
	Reason string `json:"reason"`
}

// Unconfirmed describes a configuration that is in effect for a time only.
type Unconfirmed struct {
	// Until is when it is rolled back or, with KeepAfter, kept.
	Until     time.Time `json:"until"`
	KeepAfter bool      `json:"keep_after,omitempty"`
	// RollsBackTo is the generation to return to.
	RollsBackTo uint64 `json:"rolls_back_to"`
	Guard       *Guard `json:"guard,omitempty"`
}

// ListenerStatus is one listener.
type ListenerStatus struct {
	Name string `json:"name"`
	// Pool is "" if only routes lead to pools.
	Pool string `json:"pool"`
	// Routes are in the order of the configuration.
	Routes    []RouteStatus `json:"routes,omitempty"`
	Addresses []string      `json:"addresses"`
	// State is one of the words below.
	State       string `json:"state"`
	Connections int64  `json:"connections"`
	// MaxConnections is the listener's own limit; 0 means no limit.
	MaxConnections int64 `json:"max_connections"`
	// Tarpitted is how many denied clients are held in the tarpit.
	Tarpitted uint64 `json:"tarpitted,omitempty"`
	// Rules are the access control list in order, and then its default. Of a long list, there are
	// the first 200. It is left out for a listener that allows all clients.
	Rules []RuleStatus `json:"rules,omitempty"`
	// PerClient is set if its clients have limits.
	PerClient *ClientLimits `json:"per_client,omitempty"`
}

// ClientLimits are the limits of each client of a listener, and the clients that they are about.
type ClientLimits struct {
	// Connections is the most of a client at once, Rate the most new ones per second, and Burst how
	// many of these may come at once; 0 means no limit.
	Connections int     `json:"connections"`
	Rate        float64 `json:"rate"`
	Burst       int     `json:"burst"`
	// Clients have connections now. Recent ones have opened connections that Rate has not yet made
	// up for.
	Clients int64 `json:"clients"`
	Recent  int   `json:"recent"`
	// Refused are the connections beyond the limits, by limit.
	RefusedConnections uint64 `json:"refused_connections"`
	RefusedRate        uint64 `json:"refused_rate"`
	// Unrated are the connections to which Rate was not applied, because too many clients were
	// recent.
	Unrated uint64 `json:"unrated"`
}

// RouteStatus is a route of a listener: which clients it takes, in words, and where they go.
type RouteStatus struct {
	Clients string `json:"clients"`
	Pool    string `json:"pool"`
}

// Pools are the pools to which the listener sends clients, each once.
func (l *ListenerStatus) Pools() []string {
	var all []string
	if l.Pool != "" {
		all = append(all, l.Pool)
	}
	for _, r := range l.Routes {
		if !slices.Contains(all, r.Pool) {
			all = append(all, r.Pool)
		}
	}
	return all
}

// RuleStatus is a rule of an access control list.
type RuleStatus struct {
	// Name is its name in logs and metrics, "default" for what happens without a match.
	Name string `json:"name"`
	// Clients are its first entries as configured, and Prefixes how many it has, with those of its
	// files.
	Clients  string `json:"clients"`
	Prefixes int    `json:"prefixes"`
	// Action is "allow", or what a denied client sees: "message", "close", "reset", "drop" or
	// "tarpit".
	Action string `json:"action"`
	// Shadow says that it only counts: the next rules decide.
	Shadow bool `json:"shadow"`
	// Hits is for how many clients it has decided, and LastHit when it last did. A shadow rule
	// counts what it matches.
	Hits    uint64     `json:"hits"`
	LastHit *time.Time `json:"last_hit,omitempty"`
}

// States of a listener.
const (
	ListenerOpen     = "open"
	ListenerFull     = "full"     // the limit of connections is reached; clients wait
	ListenerClosed   = "closed"   // no backend of its pool can serve (when_no_backend: unlisten)
	ListenerDraining = "draining" // it takes no new clients
)

// PoolStatus is one pool.
type PoolStatus struct {
	Name   string `json:"name"`
	Policy string `json:"policy"`
	// Serving reports whether any backend can serve.
	Serving bool `json:"serving"`
	// Queued is the number of clients that wait for a slot on a backend.
	Queued int `json:"queued"`
	// Connections are those of all its backends, and of removed ones. MaxConnections is the limit;
	// 0 means no limit.
	Connections    int64           `json:"connections"`
	MaxConnections int64           `json:"max_connections"`
	Backends       []BackendStatus `json:"backends"`
	// Names are the entries of the pool that are names, and follow DNS.
	Names []NameStatus `json:"names,omitempty"`
}

// NameStatus is a name in the list of a pool's backends.
type NameStatus struct {
	// Backend is the entry as configured.
	Backend string `json:"backend"`
	// Addresses are those of the last good answer, which came at Resolved.
	Addresses []string   `json:"addresses"`
	Resolved  *time.Time `json:"resolved,omitempty"`
	TTL       float64    `json:"ttl_seconds"`
	// Error is why the last look-up failed; the last good answer stays in use.
	Error        string     `json:"error,omitempty"`
	FailingSince *time.Time `json:"failing_since,omitempty"`
	// HeldBack are backends that are missing in the answer, and stay in use because too many would
	// be removed at once (endpoints.max_removed). The first answer after HeldUntil without them
	// removes them.
	HeldBack  []string   `json:"held_back,omitempty"`
	HeldUntil *time.Time `json:"held_until,omitempty"`
	// Refused are addresses at which the proxy itself listens.
	Refused []string `json:"refused,omitempty"`
}

// BackendStatus is one backend of a pool.
type BackendStatus struct {
	Address string `json:"address"`
	// Resolved is the address that a host name stands for.
	Resolved    string `json:"resolved,omitempty"`
	State       string `json:"state"`
	Connections int64  `json:"connections"`
	Total       uint64 `json:"total"`
	// Weight is in effect; ConfiguredWeight is what the configuration or DNS says.
	Weight           int `json:"weight"`
	ConfiguredWeight int `json:"configured_weight"`
	// MaxConnections is 0 if there is no limit.
	MaxConnections int  `json:"max_connections"`
	Backup         bool `json:"backup,omitempty"`
	// FailedDials were refused or timed out.
	FailedDials uint64 `json:"failed_dials"`
	// RetryIn is how many seconds are left of a backoff or an ejection.
	RetryIn float64 `json:"retry_in,omitempty"`
	// Since is when the state began, and Error why its last check or dial failed, if that is known.
	Since *time.Time `json:"since,omitempty"`
	Error string     `json:"error,omitempty"`
}

// States of a backend.
const (
	BackendUp      = "up"      // its checks pass
	BackendUnknown = "unknown" // it is not checked, or not yet; it is used
	BackendDown    = "down"    // its checks fail, or an operator has taken it out
	BackendDrain   = "drain"   // an operator lets its connections end
	BackendBackoff = "backoff" // a dial failed
	BackendEjected = "ejected" // its connections failed
)
