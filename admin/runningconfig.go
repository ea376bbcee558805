package admin

import (
	"encoding/json"
	"time"
)

// RunningConfig is the answer of GET /api/v1/config.
type RunningConfig struct {
	// File is "" if the configuration came from the environment alone.
	File       string `json:"file"`
	Generation uint64 `json:"generation"`
	// Config is the configuration in effect, in its full form, with secrets redacted.
	Config json.RawMessage `json:"config"`
	// Pending is what a reload would change now, and PendingError why it would be refused.
	Pending      []Change `json:"pending"`
	PendingError string   `json:"pending_error,omitempty"`
	// Runtime is what commands have changed, and no file says.
	Runtime []RuntimeChange `json:"runtime"`
}

// RuntimeChange is a change by a command.
type RuntimeChange struct {
	// Text says all of it in words.
	Text string `json:"text"`
	// Kind is "drain", "weight", "log_level" or "trace".
	Kind     string `json:"kind"`
	Listener string `json:"listener,omitempty"`
	Pool     string `json:"pool,omitempty"`
	Backend  string `json:"backend,omitempty"`
	// Configured is what the configuration says, and Now what is in effect.
	Configured string     `json:"configured,omitempty"`
	Now        string     `json:"now"`
	Since      time.Time  `json:"since,omitzero"` // of a log level, it is not known
	Until      *time.Time `json:"until,omitempty"`
	// Survives is what the change outlives: "reload" and "upgrade". No change outlives a restart.
	Survives []string `json:"survives"`
}
