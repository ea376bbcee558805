package config

import "time"

// Listener is one set of addresses that clients connect to.
type Listener struct {
	Name  string
	Binds []Bind
	// TCP applies to the TCP sockets among Binds; nil leaves all options at their defaults.
	TCP *TCP
	// Socket applies to the unix sockets among Binds, unless they have a Socket of their own.
	Socket Socket
	// Pool is the name of an entry of Config.Pools: that of the clients that no route takes. It is
	// "" if there are routes and such clients are turned away.
	Pool string
	// Routes choose other pools by what clients send first. With routes, or an entry of them, the
	// listener waits for a client's first bytes.
	Routes []Route
	// ProxyProtocol is nil when no peer has to send a header.
	ProxyProtocol *ProxyProtocol
	StartTLS      StartTLS
	// ACL is nil when there is none: every client is allowed.
	ACL *ACL
	// DenyMessage is sent by rules, and by the default, that deny with a message.
	DenyMessage string
	// Tarpit is for the clients that are denied with DenyTarpit.
	Tarpit Tarpit
	// MaxConnections bounds this listener; 0 leaves only the bound of the process.
	MaxConnections int
	// PerClient is nil when clients have no limits of their own.
	PerClient *PerClient
	// Bandwidth is nil when there are no limits of bandwidth for connections and the listener.
	Bandwidth *Bandwidth
	Timeouts  Timeouts
	// WhenNoBackend is what happens to a client that no backend can serve.
	WhenNoBackend NoBackend
	// NoBackendMessage is sent to such a client with the action of that name.
	NoBackendMessage string
}

const (
	// DefaultDenyMessage is the text that a denied client receives: 40 bytes, no newline.
	DefaultDenyMessage = "Access Denied: Your IP is not authorized"
	// DefaultNoBackendMessage is the text that a client receives when no backend can serve it and
	// when_no_backend is message.
	DefaultNoBackendMessage = "Service Unavailable: no backend can serve you"

	maxMessage = 1024 // must fit a fresh socket's send buffer in one call
)

func (l *Listener) name() *string { return &l.Name }

func (l *Listener) fields() fields {
	return fields{
		{"bind", required(listOf(&l.Binds, binds).orOne(), `write bind: ":8080"`),
			"`host:port`, `\"[::]:port\"`, `\"host:8000-8010\"`, `unix:/path`, `unix:@name`, a mapping with the keys below, or a list of them; see [Addresses](#addresses)."},
		{"tcp", optional(&l.TCP), "Options of the listener's TCP sockets; see below."},
		{"mode", mode(&l.Socket.Mode), "The permissions of the listener's unix sockets, in octal: `\"0660\"`. A process needs write permission to connect. If omitted, they are 0777 minus the umask."},
		{"owner", owner(&l.Socket.Owner), "The owner of the listener's unix sockets: `\"user\"`, `\"user:group\"` or `\":group\"`, by name or number. If omitted, the user and group of the process own them. Only root can set another user; any other user can only set a group that it is a member of."},
		{"pool", text(&l.Pool, "the name of a pool").full("write a name, or remove the key"), "The pool that serves the clients. Optional if there is exactly one pool. With `routes`, it serves the clients that no route takes; if it is omitted then, they are turned away."},
		{"routes", listOf(&l.Routes, route).most(maxRoutes), "Choose the pool by what a client sends first: the server name and the protocols in its TLS ClientHello, or that it does not speak TLS; see [Routes](#routes)."},
		{"acl", pointer(&l.ACL, func(a *ACL) value { return listOf(&a.Rules, rule).orNone() }), "Rules for clients' addresses. Without it, every client is allowed."},
		{"deny_message", text(&l.DenyMessage, "a string").max(maxMessage).def(DefaultDenyMessage), "What a denied client receives, up to 1024 bytes."},
		{"tarpit", section(&l.Tarpit), "How long, and how many, clients are held that are denied `with: tarpit`; see [Deny actions](edge.md#deny-actions)."},
		{"max_connections", integer(&l.MaxConnections, 1, maxConnections), "The maximum number of connections of this listener at once. If omitted, only the top-level limit applies."},
		{"per_client", optional(&l.PerClient), "Limits of each client: connections at once, and new ones per second; see below. If omitted, there are none."},
		{"bandwidth", optional(&l.Bandwidth), "How fast bytes may pass, of each connection and of all; see [Bandwidth](edge.md#bandwidth). If omitted, there is no limit."},
		{"timeouts", section(&l.Timeouts), "When to end a connection on which no byte moves, or that is too old; see below."},
		{"when_no_backend", enum(&l.WhenNoBackend, noBackendActions, NoBackendClose), "What a client sees when no backend can serve it; see [When no backend can serve](#when-no-backend-can-serve)."},
		{"no_backend_message", text(&l.NoBackendMessage, "a string").max(maxMessage).def(DefaultNoBackendMessage), "What `when_no_backend: message` sends, up to 1024 bytes, exactly as written: no newline is added."},
		{"proxy_protocol", optional(&l.ProxyProtocol), "The peers that must send a PROXY protocol header first; see [PROXY protocol](edge.md#proxy-protocol-from-clients). The keys are below."},
		{"starttls", enum(&l.StartTLS, startTLSProtocols, StartTLSOff), "Answer what clients of a protocol send before their ClientHello, so that `routes` can use it: `postgres` for the SSLRequest of PostgreSQL. Backends are then asked for TLS in the same way. With `off`, nothing is answered. Requires `routes`; see [PostgreSQL](edge.md#postgresql)."},
	}
}

// Timeouts of a relayed connection.
type Timeouts struct {
	// Idle ends a connection on which no byte moved for that long; 0 is never.
	Idle time.Duration
	// HalfClose ends a half-closed connection on which no byte moved for that long; 0 is never.
	HalfClose time.Duration
	// Lifetime ends a connection of that age at the next quiet moment; 0 is never.
	Lifetime time.Duration
	// Handshake is how long the bytes that have to be read first may take; never 0.
	Handshake time.Duration
	// CloseOnFIN ends a connection when one side has finished sending (half_close: off).
	CloseOnFIN bool
}

func (t *Timeouts) fields() fields {
	return fields{
		{"idle", duration(&t.Idle).def("1h"), "Reset a connection on which no byte moved for that long. 0 means never."},
		{"half_close", halfClose{duration(&t.HalfClose).def("1m"), &t.CloseOnFIN},
			"Once one side has finished sending, reset the connection if no byte moves for that long. 0 means never. With `off`, the first FIN ends the whole connection, as soon as the bytes before it have been delivered. Use `off` for protocols in which a side that closes expects no more bytes."},
		{"lifetime", duration(&t.Lifetime).def("0s"),
			"End a connection of this age (or up to 10% younger) as soon as no request is in progress; see [Draining](operations.md#connections-of-a-certain-age). 0 means never."},
		{"handshake", duration(&t.Handshake).positive().def("5s"),
			"The time for everything that has to be read before a client can be connected: the PROXY protocol header and the ClientHello, counted from accept. Not 0. Only with `proxy_protocol` or `routes`."},
	}
}
