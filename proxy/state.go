package proxy

import (
	"time"

	"l4proxy/acl"
	"l4proxy/balancer"
	"l4proxy/listen"
)

// State is all that the data plane knows about what it should do. It is built by the control plane and never changed.
type State struct {
	Listeners []*Listener
}

// Listener is one address, or several, where clients connect, and what happens to them.
type Listener struct {
	Name  string
	Binds []listen.Bind
	Pool  *Pool
	// Access says who may connect to the unix sockets among Binds; nil leaves that to the umask.
	Access *listen.Access

	// ACL decides who may connect; nil allows everyone.
	ACL *acl.List
	// DenyMessage is what a denied client is told when the rule says acl.Message.
	DenyMessage []byte
	// NoBackend is what happens to a client that no backend can serve, and NoBackendMessage what it is told with
	// MessageClient.
	NoBackend        NoBackend
	NoBackendMessage []byte

	// Idle ends a connection on which no byte has moved for so long; 0 never does.
	Idle time.Duration
	// HalfClose is Idle for a connection of which one side has ended its stream; 0 means Idle.
	HalfClose time.Duration
	// CloseOnFIN ends the connection with the first FIN: both sides are closed once the bytes before it are delivered.
	CloseOnFIN bool
	// Slots counts the listener's connections. It is live: all States that have a listener of this name share it. nil
	// means that it has no bound of its own, and no reserved share.
	Slots *Slots
}

// NoBackend is what happens to a client that no backend can serve.
type NoBackend uint8

// What happens to a client that no backend can serve.
const (
	CloseClient   NoBackend = iota // a FIN; what it still sends is discarded
	ResetClient                    // a reset
	MessageClient                  // Listener.NoBackendMessage, then a FIN
	QueueClient                    // it waits in the pool's queue
)

// Pool is a set of backends that serve the same thing.
type Pool struct {
	Name     string
	Balancer *balancer.Balancer
	Members  []balancer.Member
	// ConnectTimeout bounds one dial.
	ConnectTimeout time.Duration
	// Attempts is the most backends that are dialled for one client.
	Attempts int
	// Hedge is how long a backend has to answer before a second one is dialled beside it; 0 is never.
	Hedge time.Duration
	// FirstByte is how long a backend may let a client wait for its first byte before that counts as a failure of the
	// backend, while the connection goes on; 0 is for ever.
	FirstByte time.Duration
	// QueueTimeout bounds how long a client waits for a place on a backend. It does not wait when this is 0.
	QueueTimeout time.Duration
	// Hedges bounds the second dials. It is live: all States that have a pool of this name share it. nil means none.
	Hedges *HedgeBudget
}
