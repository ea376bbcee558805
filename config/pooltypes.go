package config

import "time"

// Pool is a set of backends that serve the same thing.
type Pool struct {
	Name string
	// Policy is "least_conn", "round_robin", "p2c", "random", "source_hash",
	// "maglev" or "first".
	Policy   string
	Backends []Backend
	Connect  Connect
	// Health is nil without active checks, Outlier without passive ones.
	Health  *Health
	Outlier *Outlier
	// PanicThreshold is a share in percent, 0 to 99: when at most so many of
	// the backends are usable, Health and Outlier are ignored. 0 is never.
	PanicThreshold int
	// SlowStart is how long a backend that is back takes to get its full
	// share; 0 is none.
	SlowStart time.Duration
	// OnDown, OnRemoved and OnRecovered say what becomes of live connections
	// when a backend goes down, is removed by a reload, or is back: "keep",
	// "drain", "close" or "reset".
	OnDown, OnRemoved, OnRecovered string
	// Spread is the time over which those three end connections; 0 is at once.
	Spread time.Duration
	// Queue is nil when nobody waits for a backend.
	Queue *Queue
	// Zone is where this proxy is, "" when zones do not matter.
	Zone string
	Hash Hash
	// Rebalance is nil when live connections stay where they are.
	Rebalance *Rebalance
	Pos       Position
}

// Backend is one server address of a pool.
type Backend struct {
	// Address is the canonical text ("10.0.0.5:80", "[::1]:80",
	// "db.example.com:80", "unix:/run/db.sock"), unique in its pool.
	Address string
	// Network is "tcp" or "unix".
	Network string
	// Host is an IP address (without brackets) or a host name. Empty for unix.
	Host string
	// Port is never 0 for tcp.
	Port uint16
	// Path is the socket's absolute path, for unix.
	Path string
	// Weight is from 1 to 1000.
	Weight int
	// MaxConnections is the most connections at once; 0 means no bound.
	MaxConnections int
	// Backup backends serve when no other can.
	Backup bool
	// Priority is from 0 to 9, the lowest first; 0 for a Backup.
	Priority int
	// Zone is where the backend is, "" when it does not matter.
	Zone string
	// Down backends are never used, as if they were not in the file.
	Down bool
	Pos  Position
}

// Connect bounds the dialling of a pool's backends.
type Connect struct {
	// Timeout bounds one attempt; never 0.
	Timeout time.Duration
	// Attempts is how many different backends are tried for one client.
	Attempts int
	// Hedge is after how long a second backend is dialled beside a first that
	// has not answered; shorter than Timeout, 0 is never.
	Hedge time.Duration
}

// Health says how backends are checked.
type Health struct {
	// Type is "tcp", "tls", "http" or "expect".
	Type string
	// Interval is the time from one check of a backend to the next, and
	// FastInterval, never longer, the same while its state is in doubt.
	Interval, FastInterval time.Duration
	// Timeout bounds one check.
	Timeout time.Duration
	// Jitter is by how much an interval may be shorter, 0 to 50 percent.
	Jitter int
	// Rise is how many passes in a row bring a backend up, Fall how many
	// failures in a row take it down.
	Rise, Fall int
	// Port is checked instead of the backend's; 0 is the backend's own.
	Port uint16
	// TLS asks for type http over TLS.
	TLS bool
	// ServerName is the name to ask for and to verify; "" is the backend's
	// Host. TLS only.
	ServerName string
	// Verify asks for a certificate that is valid for ServerName or, when that
	// is empty, for the backend's Host, a name or an IP address.
	Verify bool
	// Method, Path, Host and Status are of type http only. Host "" is the
	// backend's name or address.
	Method, Path, Host string
	Status             []StatusRange
	// Body is a text that the answer must contain, "" for any.
	Body string
	// Script is of type expect only, and has at least one step that receives.
	Script []Step
}

// StatusRange is From to To, both included, within 100 to 599.
type StatusRange struct{ From, To int }

// Step of a script sends, or receives until it has seen some bytes. One of the
// two is not empty.
type Step struct{ Send, Receive []byte }

// Outlier ejects backends whose connections fail.
type Outlier struct {
	// Failures in a row eject a backend.
	Failures int
	// Eject is how long; never 0.
	Eject time.Duration
	// MaxEjected is the most that may be ejected of a pool at once, 1 to 100
	// percent.
	MaxEjected int
	// FirstByte is how long a client may wait for the first byte before that
	// counts as a failure; 0 is for ever.
	FirstByte time.Duration
}

// Queue is where clients wait for a backend.
type Queue struct {
	// Size is how many clients may wait at once.
	Size int
	// Timeout is how long each may wait; never 0.
	Timeout time.Duration
}

// Hash is how the policies source_hash and maglev map clients to backends.
type Hash struct {
	// Seed makes the mapping another one.
	Seed string
	// MaxLoad is the most that a backend may have of its fair share, 101 to
	// 1000 percent; 0 is no bound. Of source_hash only.
	MaxLoad int
}

// Rebalance moves connections from backends that have too many.
type Rebalance struct {
	// Rate is how many connections are ended a second, more than 0.
	Rate float64
	// Jitter varies the time between two, by 0 to 100 percent.
	Jitter int
}
