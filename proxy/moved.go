package proxy

import (
	"net/netip"
)

// Moved is a connection on its way from one Server to another, usually in another process of the
// same machine. It is plain values; times are of CLOCK_MONOTONIC, in nanoseconds. Its JSON form is
// part of the hand-over format: fields are added, never renamed, and unknown ones are ignored.
// Descriptors and bytes travel beside the JSON.
type Moved struct {
	// Client and Backend are the descriptors of the two sockets; -1 means none. They belong to
	// whoever holds the value.
	Client  int `json:"-"`
	Backend int `json:"-"`
	// Pending are the bytes that were read from an end (0 client, 1 backend) and are not yet written
	// to the other one.
	Pending [2][]byte `json:"-"`

	Listener string         `json:"listener"`
	Pool     string         `json:"pool,omitempty"`
	Peer     netip.AddrPort `json:"peer,omitzero"` // invalid for a unix socket
	Accepted int64          `json:"accepted"`
}
