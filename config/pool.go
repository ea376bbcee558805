package config

import "time"

// Pool is a set of backends that serve the same thing.
type Pool struct {
	Name     string
	Policy   Policy
	Backends []Backend
	// MaxConnections bounds the connections of all backends together; 0 is no bound.
	MaxConnections int
	Connect        Connect
	// Health is nil without active checks, Outlier without passive ones.
	Health  *Health
	Outlier *Outlier
	// PanicThreshold is a share in percent, 0 to 99: when at most this share of the backends is
	// usable, Health and Outlier are ignored. 0 is never.
	PanicThreshold int
	// SlowStart is how long a backend that is back takes to get its full share; 0 is none.
	SlowStart time.Duration
	// OnDown, OnRemoved and OnRecovered say what happens to live connections when a backend goes
	// down, is removed by a reload, or is back.
	OnDown, OnRemoved, OnRecovered LiveAction
	// Spread is the time over which those three end connections; 0 is at once.
	Spread time.Duration
	// Queue is nil when no client waits for a backend.
	Queue *Queue
	// Zone is where this proxy is, "" when zones do not matter.
	Zone string
	// Hash is nil for all defaults.
	Hash *Hash
	// Rebalance is nil when live connections stay where they are.
	Rebalance *Rebalance
	// Resolve says how host names of backends follow DNS.
	Resolve Resolve
	// TCP are options of the sockets to backends; nil leaves all at their defaults.
	TCP *TCP
	// SourceAddress is where connections to backends come from.
	SourceAddress SourceAddress
	// Endpoints says how far the set of backends may change by itself.
	Endpoints Endpoints
	// SendProxy is nil when backends get no PROXY protocol header.
	SendProxy *SendProxy
}

const maxPanicThreshold = 99 // 100 would ignore health always

func (p *Pool) name() *string { return &p.Name }

func (p *Pool) fields() fields {
	return fields{
		{"policy", enum(&p.Policy, policies, LeastConn), "How a backend is picked; see [Policies](#policies)."},
		{"backends", required(listOf(&p.Backends, backend), `write backends: ["127.0.0.1:8081"]`), "At least one. Each is an address, or a mapping with the keys below."},
		{"max_connections", integer(&p.MaxConnections, 1, maxConnections), "The maximum number of connections of the pool at once, of all its backends together. A pool that has reached it is treated as if all its backends were full: clients wait in the `queue`, or `when_no_backend` decides."},
		{"connect", section(&p.Connect), "How backends are dialed; see below."},
		{"health", optional(&p.Health), "Checks that detect a dead backend before a client does; see below. If omitted, nothing is checked."},
		{"outlier", optional(&p.Outlier), "Ejects backends that are up but fail their clients; see below. If omitted, no backend is ejected."},
		{"panic_threshold", percent(&p.PanicThreshold, 0, maxPanicThreshold).def("0%"),
			"1% to 99%: if no more than this share of the backends is usable, checks and ejections are ignored, and all backends are used. At that point, it is more likely that the checks are wrong than that nearly every backend is down, and the few that are left could not bear the whole load. 0% means never. Requires `health` or `outlier`."},
		{"slow_start", duration(&p.SlowStart).def("0s"),
			"How long a backend that has come back (after being down, an ejection, or several failed dials) takes to grow from a tenth of its weight to its full weight, so that its caches can warm up. 0 means at once. Not allowed with the policy `first`."},
		{"on_down", enum(&p.OnDown, liveActions, LiveKeep), "What happens to a backend's live connections when its checks report that it is down; see [Live connections](#live-connections). Requires `health`."},
		{"on_removed", enum(&p.OnRemoved, liveActions, LiveDrain), "What happens to a backend's live connections when a reload or DNS removes it."},
		{"on_recovered", enum(&p.OnRecovered, liveActions, LiveKeep), "What happens to the live connections on less preferred backends once the backend that they stood in for is up again. Requires `health`, and backends with `backup`, `priority` or `zone`."},
		{"spread", duration(&p.Spread).def("5s"), "The time over which `on_down`, `on_removed` and `on_recovered` end connections, evenly, so that the clients do not all reconnect at once. 0 means at once."},
		{"queue", optional(&p.Queue), "Where clients wait while every backend is full; see below. If omitted, no client waits."},
		{"zone", zone(&p.Zone), "The zone of this proxy; see [Which backend serves first](#which-backend-serves-first)."},
		{"hash", optional(&p.Hash), "How `source_hash` and `maglev` map clients to backends; see below."},
		{"rebalance", optional(&p.Rebalance), "Ends connections of backends that have too many; see below. If omitted, connections stay where they are."},
		{"resolve", section(&p.Resolve), "How the host names of backends follow DNS; see below."},
		{"endpoints", section(&p.Endpoints), "How far DNS may change the set of backends at once; see below."},
		{"source", sourceAddress(&p.SourceAddress), "The address that connections to backends come from: `client`, which is the address of the client, or one or more addresses of this machine, which are used in turn; see [Source addresses](edge.md#source-addresses). Health checks use the addresses of this machine. If omitted, the kernel chooses."},
		{"tcp", optional(&p.TCP), "Options of the sockets to backends; see below."},
		{"send_proxy", pointer(&p.SendProxy, sendProxy), "Send a PROXY protocol header to the backends first: `v1`, `v2`, or a mapping with the keys below. Every backend of the pool must expect it. Health checks send one too, unless they use `health.port`; see [PROXY protocol](edge.md#proxy-protocol-to-backends)."},
	}
}

// Backend is one server address of a pool.
type Backend struct {
	// Address is unique in its pool.
	Address Address
	// Weight is from 1 to 1000.
	Weight int
	// MaxConnections is the most connections at once; 0 is no bound.
	MaxConnections int
	// Backup backends serve when no other can.
	Backup bool
	// Priority is from 0 to 9, the lowest first; 0 for a Backup.
	Priority int
	// Zone is where the backend is, "" when it does not matter.
	Zone string
	// Down backends are never used, as if they were not in the file.
	Down bool
}

const (
	maxWeight   = 1000
	maxPriority = 9
)

// backend is the value of one entry in a list of backends.
func backend(b *Backend) value { return shorthand[*Backend]{structureOf(b)} }

func (b *Backend) fields() fields {
	return fields{
		{"address", required(backendAddress(&b.Address), `write address: "127.0.0.1:8081"`),
			"`host:port` with an IP address or a host name, `\"[::1]:port\"`, or `unix:/path`. No two addresses in a pool may be the same. None may be a listener of this proxy that leads back to the pool. A host name stands for all its addresses, each a backend, and [follows DNS](#host-names). `srv:NAME` asks for SRV records, as in `srv:_postgres._tcp.example.com`."},
		{"weight", integer(&b.Weight, 1, maxWeight).def("1"), "The share of connections relative to the other backends, 1 to 1000. Not allowed with `srv:NAME`, whose records have weights."},
		{"max_connections", integer(&b.MaxConnections, 1, maxConnections), "The maximum number of connections at once, 1 to 10,000,000. A backend that has reached it is full: other backends serve, or clients wait in the `queue`."},
		{"backup", boolean(&b.Backup, false), "Serve only when no other backend can."},
		{"priority", integer(&b.Priority, 0, maxPriority).def("0"), "0 to 9; the lowest serves first. Not allowed with `backup`, which comes after all priorities."},
		{"zone", zone(&b.Zone), "The zone of the backend. Requires `zone` in the pool."},
		{"down", boolean(&b.Down, false), "Keep it in the file, but never use it: it is not dialed, not checked and not counted, and its name is not resolved. If all backends of a pool have `down: true`, no client of the pool can be served."},
	}
}

// Connect bounds how backends are dialed.
type Connect struct {
	// Timeout bounds one attempt; never 0.
	Timeout time.Duration
	// Attempts is how many different backends are tried for one client.
	Attempts int
	// Hedge dials a second backend when the first has not answered for that long; 0 is never.
	Hedge time.Duration
}

const maxAttempts = 100

func (c *Connect) fields() fields {
	return fields{
		{"timeout", duration(&c.Timeout).positive().def("3s"), "The time for one attempt; not 0. While the queue of a unix socket is full, the proxy retries for that long."},
		{"attempts", integer(&c.Attempts, 1, maxAttempts).def("3"), "How many different backends are tried for one client, 1 to 100."},
		{"hedge", duration(&c.Hedge).def("0s"),
			"If a backend has not answered for that long, a second one of the same priority and zone is dialed as well. It counts as an attempt. The first to answer serves, and the other dial is closed before a byte is sent. Must be shorter than `timeout`; 0 means never. Requires two backends and two attempts."},
	}
}

// Outlier ejects backends whose connections fail.
type Outlier struct {
	// Failures in a row eject a backend.
	Failures int
	// Eject is how long; never 0.
	Eject time.Duration
	// MaxEjected is the most that may be ejected of a pool at once, 1 to 100 percent.
	MaxEjected int
	// FirstByte is how long a client may wait for the first byte before that counts as a failure; 0
	// is forever.
	FirstByte time.Duration
}

const maxFailures = 10_000

func (o *Outlier) fields() fields {
	return fields{
		{"failures", integer(&o.Failures, 1, maxFailures).def("5"), "This many failures in a row eject a backend, 1 to 10,000. An answer from it resets the count."},
		{"eject", duration(&o.Eject).positive().def("30s"), "How long an ejected backend gets no clients. Each ejection that follows soon lasts that much longer than the one before, up to 5 minutes."},
		{"max_ejected", percent(&o.MaxEjected, 1, 100).def("50%"), "The maximum share of the pool's backends that may be ejected at once, 1% to 100%, rounded down: with a single backend, 50% means none."},
		{"first_byte", duration(&o.FirstByte).def("0s"),
			"If a client has sent something and has received no byte for that long, its connection counts as failed, once. The client continues to wait. With 0, only the end of a connection can be a failure."},
	}
}

// Queue is where clients wait for a backend.
type Queue struct {
	// Size is how many clients may wait at once.
	Size int
	// Timeout is how long each may wait; never 0.
	Timeout time.Duration
}

const maxQueueSize = 1_000_000

func (q *Queue) fields() fields {
	return fields{
		{"size", integer(&q.Size, 1, maxQueueSize).def("1000"), "How many clients may wait at once, 1 to 1,000,000."},
		{"timeout", duration(&q.Timeout).positive().def("10s"), "How long each may wait; not 0."},
	}
}

// Hash is how the policies source_hash and maglev map clients to backends.
type Hash struct {
	// Another Seed gives another mapping.
	Seed string
	// MaxLoad is the most that a backend may have of its fair share, 101 to 1000 percent; 0 is no
	// bound. Of source_hash only.
	MaxLoad int
}

func (h *Hash) fields() fields {
	return fields{
		{"seed", text(&h.Seed, "a string"), "Any text. Proxies with the same seed and the same backends send a client to the same backend. Another seed gives another mapping. Without a seed, proxies agree too, but anyone can compute which backend serves an address, and target one backend."},
		// With 100%, one backend more or less would move every client.
		{"max_load", percent(&h.MaxLoad, 101, 1000), "101% to 1000%: a backend that has reached this percentage of its fair share of the connections gets no new ones. Its clients go to their next backend. If omitted, there is no limit. For `source_hash` only."},
	}
}

// Rebalance moves connections from backends that have too many.
type Rebalance struct {
	// Rate is how many connections are ended per second, more than 0.
	Rate float64
	// Jitter varies the time between two, by 0 to 100 percent.
	Jitter int
}

func (r *Rebalance) fields() fields {
	return fields{
		{"rate", rate(&r.Rate).def("10/s"), "How many connections are ended: `N/s`, `N/m` or `N/h`."},
		{"jitter", percent(&r.Jitter, 0, 100).def("20%"), "By how much the time between two of them varies, up to 100%."},
	}
}
