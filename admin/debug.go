package admin

import (
	"time"
)

// DebugRequest is the body of POST /api/v1/debug. It changes the log level, or has the steps of
// some connections logged.
type DebugRequest struct {
	// Level is "debug", "info", "warn" or "error": of the process, without Listener and From.
	Level string `json:"level,omitempty"`
	// Listener and From select the connections to trace.
	Listener string `json:"listener,omitempty"`
	From     Prefix `json:"from,omitzero"`
	// For is how long it lasts, 24 hours at most; 0 is 5 minutes for a trace, and for good for a
	// level.
	For Duration `json:"for,omitzero"`
	// Stop ends the trace of Listener and From early; without either, it ends all traces and
	// returns to the configured level.
	Stop bool `json:"stop,omitempty"`
}

// Debug is the answer of GET and POST /api/v1/debug.
type Debug struct {
	// Level is in effect; Configured is what the configuration says.
	Level      string `json:"level"`
	Configured string `json:"configured"`
	// LevelSet says that an operator has set Level, LevelUntil until when; without it, for good.
	LevelSet   bool       `json:"level_set"`
	LevelUntil *time.Time `json:"level_until,omitempty"`
	Traces     []Trace    `json:"traces"`
}

// Trace has the steps of connections logged.
type Trace struct {
	Listener string    `json:"listener,omitempty"`
	From     Prefix    `json:"from,omitzero"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	// Connections were traced so far. LeftOut is how many were not because there were too many.
	Connections uint64 `json:"connections"`
	LeftOut     uint64 `json:"left_out"`
}
