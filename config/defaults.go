package config

import "time"

// Defaults and limits. The schema and docs/configuration.md show the same
// values; tests compare them.
const (
	defaultLogLevel       = "info"
	defaultLogFormat      = "auto"
	defaultLogConnections = true
	defaultEngine         = "auto"
	defaultDrainDelay     = 0
	defaultDrainTimeout   = 30 * time.Second
	defaultIdle           = time.Hour
	defaultHalfClose      = time.Minute
	defaultPolicy         = "least_conn"
	defaultWeight         = 1
	defaultConnectTimeout = 3 * time.Second
	defaultAttempts       = 3
	defaultWith           = "message"

	// DefaultDenyMessage is the text a denied client receives: 40 bytes, no
	// newline.
	DefaultDenyMessage = "Access Denied: Your IP is not authorized"

	maxWorkers     = 1024
	maxConnections = 10_000_000
	maxWeight      = 1000
	maxAttempts    = 100
	maxNameLen     = 64
	maxDuration    = 876_000 * time.Hour // added to a clock, it must not overflow
	maxDenyMessage = 1024                // must fit a fresh socket's send buffer in one call
	maxRangePorts  = 1024                // of one "host:8000-9023"
	maxBinds       = 65535               // of the whole file, ranges expanded
	maxUnixPath    = 107                 // sun_path is 108 bytes with its NUL, unix(7)
	maxHostLen     = 253                 // RFC 1035 section 2.3.4, as text
	maxFileSize    = 64 << 20
	maxDepth       = 32
	maxProblems    = 1000 // reported; the rest is counted
)
