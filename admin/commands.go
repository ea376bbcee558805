package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Commands are what the API can do. One that is nil is answered with 501: this process cannot do
// it. An error that is an [*Error] says with which status.
type Commands struct {
	// Reload loads the configuration again.
	Reload func(context.Context, ReloadRequest) (*Reload, error)
	// Keep confirms the running configuration, Rollback returns to the last confirmed one.
	Keep, Rollback func(context.Context) error
	// Drain starts a drain, or undoes one, and does not wait for its end. It returns the state
	// afterwards.
	Drain func(context.Context, DrainRequest) (*Drain, error)
	// SetBackend sets the state or the weight of a backend.
	SetBackend func(ctx context.Context, pool, address string, change BackendChange) (*Drain, error)
	// Kill ends connections.
	Kill func(context.Context, KillRequest) (*Kill, error)
	// Ban sets bans, Unban removes some. by is the address of the client that asked for it.
	Ban   func(ctx context.Context, by string, request BanRequest) (*Banned, error)
	Unban func(ctx context.Context, by string, request UnbanRequest) (*Unbanned, error)
	// Debug changes what is logged, and returns the state afterwards.
	Debug func(context.Context, DebugRequest) (*Debug, error)
	// Fault breaks a backend of the demo, or repairs it.
	Fault func(ctx context.Context, backend string, request FaultRequest) (*DemoBackend, error)
	// Upgrade returns when the new process serves.
	Upgrade func(context.Context, UpgradeRequest) (*Upgrade, error)
}

// ReloadRequest is the body of POST /api/v1/reload, or its query.
type ReloadRequest struct {
	// DryRun changes nothing.
	DryRun bool `json:"dry_run,omitempty"`
	// Confirm rolls the reload back after that time, unless it is kept first; 0 is never.
	Confirm Duration `json:"confirm,omitzero"`
	// Guard, if set, rolls back as soon as the proxy serves worse than before. Without Confirm it
	// watches for a time, and then keeps the reload by itself.
	Guard *Guard `json:"guard,omitempty"`
}

// Guard says by how much things may get worse after a reload. A value of 0 is the default.
type Guard struct {
	// Failed is by how many percentage points the share of new connections that are not served may
	// grow.
	Failed int `json:"failed,omitempty"`
	// Unusable is by how many percentage points the share of usable backends may fall, of any pool.
	Unusable int `json:"unusable,omitempty"`
	// Least is how many new connections it takes to judge Failed.
	Least int `json:"least,omitempty"`
}

// UnmarshalJSON reads an object, or true for the defaults.
func (g *Guard) UnmarshalJSON(text []byte) error {
	if string(text) == "true" {
		*g = Guard{}
		return nil
	}
	type plain Guard
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if decoder.Decode((*plain)(g)) != nil {
		return errors.New(`guard: write true, or an object with the numbers "failed", "unusable" and "least"`)
	}
	return nil
}

// Reload is what a reload has changed, or would change.
type Reload struct {
	DryRun     bool   `json:"dry_run"`
	Generation uint64 `json:"generation"`
	// Changes is empty if nothing is different.
	Changes  []Change `json:"changes"`
	Warnings []string `json:"warnings"`
	// Seconds is how long it took.
	Seconds float64 `json:"seconds"`
	// Unconfirmed is set if the configuration is rolled back unless it is kept.
	Unconfirmed *Unconfirmed `json:"unconfirmed,omitempty"`
}

// Change is one difference between two configurations, and what it means for live connections.
type Change struct {
	// Text says all of it in words, on one line.
	Text string `json:"text"`
	// Part is "process", "listener", "rule", "list", "pool" or "backend"; Name is that of the
	// listener, the pool or the list file, Item the address of the backend or the name of the rule.
	Part string `json:"part"`
	Name string `json:"name,omitempty"`
	Item string `json:"item,omitempty"`
	// Action is "added", "removed" or "changed". Key is what has changed, from Old to New.
	Action string `json:"action"`
	Key    string `json:"key,omitempty"`
	Old    string `json:"old,omitempty"`
	New    string `json:"new,omitempty"`
	// Connections are the live ones of the listener, the pool or the backend, and Effect is what
	// happens to them.
	Connections int64  `json:"connections"`
	Effect      string `json:"effect,omitempty"`
	// AtStart says that the change takes effect only with a restart or an upgrade.
	AtStart bool `json:"at_start,omitempty"`
}

// DrainRequest is the body of POST /api/v1/drain. It names a listener, or a backend, or neither:
// the whole process, which then ends.
type DrainRequest struct {
	Listener string `json:"listener,omitempty"`
	// Pool may be left out if only one pool has the backend.
	Pool    string `json:"pool,omitempty"`
	Backend string `json:"backend,omitempty"`
	// Undo ends the drain of a listener or of a backend.
	Undo bool `json:"undo,omitempty"`
	// Timeout is when the connections that are left are ended. Without it, those of a listener or
	// of a backend are left alone, and for the process it is drain.timeout.
	Timeout *Duration `json:"timeout,omitempty"`
}

// what is what a drain is about, for messages.
func what(listener, pool, backend string) string {
	switch {
	case listener != "":
		return "listener " + listener
	case backend != "" && pool != "":
		return fmt.Sprintf("backend %s of pool %s", backend, pool)
	case backend != "":
		return "backend " + backend
	}
	return "the process"
}

// check reports what does not fit together.
func (r *DrainRequest) check() error {
	switch {
	case r.Listener != "" && (r.Pool != "" || r.Backend != ""):
		return Invalid("a drain is of a listener or of a backend, not both", "send one request for each")
	case r.Pool != "" && r.Backend == "":
		return Invalid("a drain of a pool names no backend", `add "backend": "ADDRESS"`)
	case r.Timeout != nil && r.Undo:
		return Invalid("undo has no timeout", "remove one of them")
	case r.Undo && r.Listener == "" && r.Backend == "":
		return Invalid("the drain of the whole process cannot be undone", "name a listener or a backend")
	}
	return checkTimeout(r.Timeout)
}

// Drain is what an operator has taken out of service: a listener, a backend, or the process.
type Drain struct {
	Listener string `json:"listener,omitempty"`
	Pool     string `json:"pool,omitempty"`
	Backend  string `json:"backend,omitempty"`
	// State is DrainUp, DrainWaiting, DrainRunning or DrainDown.
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// Deadline is when the connections that are left are ended; absent means never.
	Deadline *time.Time `json:"deadline,omitempty"`
	// Connections are open now. Before were open when the drain began, and Closed were still open
	// at the deadline.
	Connections int64  `json:"connections"`
	Before      int64  `json:"before"`
	Closed      uint64 `json:"closed"`
	// Weight of a backend is in effect, ConfiguredWeight what the configuration says. Both are 0
	// for anything else.
	Weight           int `json:"weight,omitempty"`
	ConfiguredWeight int `json:"configured_weight,omitempty"`
	// Survives is what the change outlives: "reload" and "upgrade". No change outlives a restart.
	Survives []string `json:"survives"`
}

// What is what the drain is about, for messages.
func (d *Drain) What() string { return what(d.Listener, d.Pool, d.Backend) }

// States of a drain.
const (
	DrainUp      = "up"      // undone
	DrainWaiting = "waiting" // the process still accepts clients, for drain.delay
	DrainRunning = "drain"   // no new clients
	DrainDown    = "down"    // no new clients, and on_down applies to the connections
)

// UpgradeRequest is the body of POST /api/v1/upgrade.
type UpgradeRequest struct {
	// Binary is an absolute path; "" is the binary that the process was started from.
	Binary string `json:"binary,omitempty"`
}

// Upgrade is the outcome of an upgrade that succeeded.
type Upgrade struct {
	PID     int    `json:"pid"` // of the new process
	Version string `json:"version"`
	Binary  string `json:"binary"`
	// Moved connections are with the new process. Left ones stay with the old process until they
	// end.
	Moved int `json:"connections_moved"`
	Left  int `json:"connections_left"`
	// Seconds is how long it took, AcceptPause how long new clients waited in the kernel's queues,
	// and LongestBatch the longest time in which a connection belonged to neither process.
	Seconds      float64 `json:"duration_seconds"`
	AcceptPause  float64 `json:"accept_pause_seconds"`
	LongestBatch float64 `json:"longest_batch_seconds"`
}

// BackendChange is the body of PATCH /api/v1/pools/{pool}/backends/{address}. It has a state, a
// weight, or both.
type BackendChange struct {
	// State is BackendUp, BackendDrain or BackendDown.
	State string `json:"state,omitempty"`
	// Weight replaces the weight of the configuration, or returns to it.
	Weight *Weight `json:"weight,omitempty"`
	// Timeout is when the connections that are left are ended; without it, drain leaves them alone.
	Timeout *Duration `json:"timeout,omitempty"`
}

// check reports what is wrong with it.
func (c *BackendChange) check() error {
	switch {
	case c.State == "" && c.Weight == nil:
		return Invalid("nothing to change", `write "state", "weight" or both`)
	case c.State == "" && c.Timeout != nil:
		return Invalid("a timeout without a state", `add "state": "drain"`)
	case c.State != "" && !slices.Contains([]string{BackendUp, BackendDrain, BackendDown}, c.State):
		return Invalid("unknown state "+strconv.Quote(shorten(c.State)), "write up, drain or down")
	case c.Timeout != nil && c.State == BackendUp:
		return Invalid("the state up has no timeout", "remove it")
	}
	return checkTimeout(c.Timeout)
}

func checkTimeout(d *Duration) error {
	if d != nil && *d < 0 {
		return Invalid("the timeout is negative", `write a duration such as "30s"`)
	}
	return nil
}

// Duration is written as in the configuration: "30s".
type Duration time.Duration

// MarshalText writes "1m30s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads "1m30s".
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as \"30s\"", text)
	}
	*d = Duration(v)
	return nil
}
