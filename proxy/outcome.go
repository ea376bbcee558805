package proxy

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
)

// A Side is who ended a connection first.
type Side uint8

// The sides.
const (
	SideNone Side = iota
	SideClient
	SideBackend
	SideProxy
	sides
)

var sideNames = [sides]string{"none", "client", "backend", "proxy"}

func (s Side) String() string { return sideNames[s] }

// A Reason is why a connection ended, from a closed list: log, metrics and documentation use the
// same words.
type Reason uint8

// The reasons.
const (
	ReasonNone               Reason = iota
	ReasonClosed                    // both streams ended; Side ended first
	ReasonReset                     // Side sent a reset
	ReasonVanished                  // Side no longer answers: keepalive or unacknowledged bytes timed out
	ReasonDenied                    // the access control list denied the client
	ReasonBanned                    // the client's address is banned
	ReasonClientConnections         // the client had per_client.connections already
	ReasonClientRate                // the client opened connections faster than per_client.rate
	ReasonBadProxyHeader            // the client had to send a PROXY protocol header, and sent something else
	ReasonBadClientHello            // what the client sent cannot be routed: no ClientHello, or a broken one
	ReasonHandshakeTimeout          // what the client had to send first did not arrive within timeouts.handshake
	ReasonNoRoute                   // no route takes the client, and the listener has no pool of its own
	ReasonNoBackend                 // the pool had no backend left to try
	ReasonQueueFull                 // all backends were full, and so was the pool's queue
	ReasonQueueTimeout              // no slot on a backend became free within queue.timeout
	ReasonConnectRefused            // the last backend tried refused
	ReasonConnectTimeout            // the last backend tried did not answer
	ReasonConnectUnreachable        // there was no route to the last backend tried
	ReasonStartTLSRefused           // the last backend tried does not do TLS, which the client has asked for
	ReasonLocalPorts                // the proxy had no source port left towards the backend
	ReasonNoSource                  // the pool's source has no address of the family of the backend
	ReasonLocalResources            // the proxy ran out of descriptors or memory
	ReasonIdleTimeout               // no byte moved for timeouts.idle
	ReasonHalfCloseTimeout          // one stream had ended, and no byte moved for timeouts.half_close
	ReasonLifetime                  // the connection was older than timeouts.lifetime
	ReasonBackendDown               // the backend is down, by health checks or by an operator; on_down ends its connections
	ReasonBackendRemoved            // the backend was removed; on_removed ends its connections
	ReasonBackendRecovered          // a better backend recovered; on_recovered ends connections of others
	ReasonRebalanced                // the backend had more than its share of long connections
	ReasonDrained                   // the proxy, the listener or the backend was drained, and the connection was quiet
	ReasonDrainTimeout              // the same, and the connection was still open when the time for that was over
	ReasonKilled                    // an operator ended the connection; see Server.Kill
	ReasonStopped                   // the proxy was stopped at once
	ReasonError                     // an error without a reason of its own
	reasons
)

var reasonNames = [reasons]string{
	"none", "closed", "reset", "vanished", "denied", "banned", "client_connections", "client_rate",
	"bad_proxy_header", "bad_client_hello", "handshake_timeout", "no_route", "no_backend", "queue_full",
	"queue_timeout", "connect_refused", "connect_timeout",
	"connect_unreachable", "starttls_refused", "local_ports", "no_source", "local_resources", "idle_timeout", "half_close_timeout",
	"lifetime", "backend_down", "backend_removed", "backend_recovered", "rebalanced", "drained", "drain_timeout",
	"killed", "stopped", "error",
}

func (r Reason) String() string { return reasonNames[r] }

// Denied reports whether a rule, a ban or a limit for the client's address has denied it.
func (r Reason) Denied() bool {
	switch r {
	case ReasonDenied, ReasonBanned, ReasonClientConnections, ReasonClientRate:
		return true
	}
	return false
}

// Outcome is how a connection ended.
type Outcome struct {
	Side   Side
	Reason Reason
	// Errno is the error of the socket that ended it, 0 if none did.
	Errno unix.Errno
}

// Is reports whether a side has ended the connection for a reason, whatever the error.
func (o Outcome) Is(side Side, reason Reason) bool { return o.Side == side && o.Reason == reason }

// outcomeOf returns what an error of an established socket means.
func outcomeOf(side Side, errno unix.Errno) Outcome {
	switch errno {
	case unix.ECONNRESET, unix.EPIPE:
		return Outcome{side, ReasonReset, errno}
	case unix.ETIMEDOUT, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN:
		return Outcome{side, ReasonVanished, errno}
	case unix.ENOMEM, unix.ENOBUFS:
		return Outcome{SideProxy, ReasonLocalResources, errno}
	}
	return Outcome{side, ReasonError, errno}
}

// Record is a finished connection, for the log and the metrics.
type Record struct {
	Outcome
	Listener *Listener
	Pool     *Pool          // the listener's own for a client that was never routed; nil if there is no such pool
	Client   netip.AddrPort // the zero value for a client on a unix socket
	// ViaProxy: a PROXY protocol header has named the client. Peer is the address of the socket
	// then, the zero value for a unix socket.
	ViaProxy bool
	Peer     netip.AddrPort
	// ServerName is the name that the client's ClientHello asks for, UniqueID what a PROXY protocol
	// header has called the connection for the backend; both "" if unknown.
	ServerName, UniqueID string
	Backend              *backend.Backend // the last one tried; nil if no backend was picked
	Rule                 string           // name of the rule that denied the client, or ""
	Shadow               string           // name of the first shadow rule that an admitted client has met, or ""
	BytesIn              uint64           // client to backend
	BytesOut             uint64           // backend to client
	Accepted             time.Duration    // on the loops' clock
	Duration             time.Duration    // accept to close
	Connect              time.Duration    // of the dial that succeeded
	Attempts             int              // dials
	Failed               []FailedDial     // failed dials before the last one, in order; nil for most
	// RTT and Retransmits are the kernel's view of the client's side (tcp(7), TCP_INFO); 0 when
	// unknown.
	RTT         time.Duration
	Retransmits uint32
}

// A FailedDial is a backend whose dial for a client failed, and the reason. If a second dial was
// answered first, the reason is [ReasonConnectTimeout].
type FailedDial struct {
	Backend *backend.Backend
	Reason  Reason
}
