package proxy

import (
	"time"

	"l4proxy/acl"
	"l4proxy/balancer"
	"l4proxy/bandwidth"
	"l4proxy/clientlimit"
	"l4proxy/listen"
	"l4proxy/route"
)

// State is the configuration of the data plane. The control plane builds it, and it never changes.
type State struct {
	Listeners []*Listener
}

// Listener is one or more addresses that clients connect to, and how their clients are handled.
type Listener struct {
	Name  string
	Binds []listen.Bind
	// Pool takes the clients that no route takes. It is nil if there are routes and only they
	// serve: a client that no route takes is turned away.
	Pool *Pool
	// Routes choose the pool by a client's first bytes: the route with index i leads to
	// RoutePools[i]. nil means that nothing has to be read to choose.
	Routes     *route.Table
	RoutePools []*Pool
	// Access sets the permissions of the unix sockets among Binds, unless a bind has its own; nil
	// leaves them to the umask.
	Access *listen.Access

	// ProxyFrom are the peers that have to send a PROXY protocol header first; nil means that no
	// peer does. The address in the header is the client's. From other peers, a header is payload.
	ProxyFrom *ProxyFrom
	// StartTLS is what clients may send before their ClientHello. It counts only with Routes.
	StartTLS StartTLS
	// Handshake limits the time in which the PROXY protocol header, what StartTLS says and the
	// ClientHello must arrive, in all. It is positive if any of them is read.
	Handshake time.Duration

	// ACL decides which clients may connect; nil allows all clients.
	ACL *acl.List
	// DenyMessage is sent to a denied client if the action of the rule is acl.Message.
	DenyMessage []byte
	// Tarpit is for clients that are denied with acl.Tarpit.
	Tarpit Tarpit
	// NoBackend is what happens to a client that no backend can serve. NoBackendMessage is sent
	// with MessageClient.
	NoBackend        NoBackend
	NoBackendMessage []byte

	// Idle is how long no byte may move on a connection before it is ended; 0 means no limit.
	Idle time.Duration
	// HalfClose is Idle for a half-closed connection; 0 means Idle.
	HalfClose time.Duration
	// Lifetime is the age at which a connection is ended at the next quiet moment; 0 means no
	// limit. Some are ended up to a tenth of it earlier.
	Lifetime time.Duration
	// Bandwidth limits how fast bytes pass. Another State with a listener of this name changes the
	// limits of its open connections too.
	Bandwidth bandwidth.Settings
	// CloseOnFIN ends the connection with the first FIN: both sides are closed once the bytes
	// before it have been delivered.
	CloseOnFIN bool
	// KeepAlive is how clients that have vanished are detected; nil means Options.KeepAlive. The
	// TCP options of Binds have the same.
	KeepAlive *KeepAlive
	// Multipath: clients may connect by MPTCP.
	Multipath bool
	// Slots counts the listener's connections. It is live: all States with a listener of this name
	// share it. nil means no limit of its own and no reserved share.
	Slots *Slots
	// Clients limits the connections of each client. It is live: States with a listener of this
	// name share it. nil means no limit. OverLimit is what happens to a client beyond it.
	Clients   *clientlimit.Limiter
	OverLimit acl.Action
}

// NoBackend is what happens to a client that no backend can serve.
type NoBackend uint8

// What happens to a client that no backend can serve.
const (
	CloseClient   NoBackend = iota // a FIN; what the client still sends is discarded
	ResetClient                    // a reset
	MessageClient                  // Listener.NoBackendMessage, then a FIN
	QueueClient                    // the client waits in the pool's queue
)

// Pool is a set of backends that serve the same thing.
type Pool struct {
	Name     string
	Balancer *balancer.Balancer
	// ConnectTimeout limits the duration of one dial.
	ConnectTimeout time.Duration
	// Attempts is the most backends that may be dialled for one client.
	Attempts int
	// Origin is where connections come from, and the options of their sockets; nil leaves both to
	// the kernel.
	Origin *Origin
	// Hedge is how long a backend has to answer before a second one is dialled as well; 0 means
	// never.
	Hedge time.Duration
	// FirstByte is how long a client may wait for the backend's first byte before that counts as a
	// failure of the backend; 0 means no limit. The connection stays open.
	FirstByte time.Duration
	// QueueTimeout is how long a client may wait for a slot on a backend; 0 means that it does not
	// wait.
	QueueTimeout time.Duration
	// SendProxy is the PROXY protocol header that each backend gets first; nil means none.
	SendProxy *SendProxy
	// Hedges limits second dials. It is live: all States with a pool of this name share it. nil
	// means no second dials.
	Hedges *HedgeBudget
}
