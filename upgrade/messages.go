package upgrade

import (
	"encoding/json"

	"l4proxy/proxy"
)

// The JSON of the messages. Fields are added, never renamed; a receiver ignores those that it does
// not know, and treats a missing one as its zero value.

// hello is kindHello.
type hello struct {
	formats
	Version string `json:"version"`
	PID     int    `json:"pid"`
	// Early is state that the new process needs to check its configuration.
	Early State `json:"early,omitempty"`
	// Bulk announces messages of kindBulk that follow, from the old process.
	Bulk []bulkEntry `json:"bulk,omitempty"`
	// Next is there in tests only.
	Next string `json:"next,omitempty"`
}

// checked is kindChecked.
type checked struct {
	// FileLimit is how many files the new process may have open.
	FileLimit uint64 `json:"file_limit"`
}

// refused is kindRefused.
type refused struct {
	Reason string `json:"reason"`
}

// sockets is kindSockets. Its descriptors are in the same order.
type sockets struct {
	Seq     int           `json:"seq"`
	Sockets []socketEntry `json:"sockets"`
}

type socketEntry struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Bind string `json:"bind,omitempty"`
	// KeepFile says that the file of a unix socket belongs to another program.
	KeepFile bool `json:"keep_file,omitempty"`
}

// State is live state by name, each with a form of its own. A reader ignores names that it does not
// know, and does without those that are missing.
type State map[string]json.RawMessage

// batch is kindBatch. The descriptors of a connection follow each other, the client's first, and so
// do its pending bytes.
type batch struct {
	Seq         int     `json:"seq"`
	Connections []entry `json:"connections"`
}

type entry struct {
	HasClient  bool        `json:"has_client"`
	HasBackend bool        `json:"has_backend"`
	Pending    [2]int      `json:"pending"` // bytes from the client, and from the backend
	Connection proxy.Moved `json:"connection"`
}

// ack is kindAck.
type ack struct {
	Seq int `json:"seq"`
	// Error is why nothing of the message was taken; "" if something was.
	Error string `json:"error,omitempty"`
	// Left are the connections of a batch that stay with the old process.
	Left []left `json:"left,omitempty"`
}

type left struct {
	Index  int    `json:"index"`
	Reason string `json:"reason"`
}

// done is kindDone.
type done struct {
	Seq   int   `json:"seq"`
	State State `json:"state"`
}
