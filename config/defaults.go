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
	defaultWhenNoBackend  = "close"
	defaultOnDown         = "keep"
	defaultOnRemoved      = "drain"
	defaultOnRecovered    = "keep"
	defaultSpread         = 5 * time.Second

	defaultHealthType    = "tcp"
	defaultInterval      = 2 * time.Second
	minDefaultFast       = 100 * time.Millisecond // the default fast_interval is not shorter
	defaultHealthTimeout = time.Second
	defaultHealthJitter  = 10
	defaultRise          = 2
	defaultFall          = 3
	defaultMethod        = "GET"
	defaultPath          = "/"
	defaultStatusFrom    = 200
	defaultStatusTo      = 399

	defaultFailures        = 5
	defaultEject           = 30 * time.Second
	defaultMaxEjected      = 50
	defaultQueueSize       = 1000
	defaultQueueTimeout    = 10 * time.Second
	defaultRebalanceRate   = 10
	defaultRebalanceJitter = 20

	// DefaultDenyMessage is the text a denied client receives: 40 bytes, no
	// newline.
	DefaultDenyMessage = "Access Denied: Your IP is not authorized"
	// DefaultNoBackendMessage is the text that a client receives that no
	// backend can serve, where a message was asked for.
	DefaultNoBackendMessage = "Service Unavailable: no backend can serve you"

	maxWorkers     = 1024
	maxConnections = 10_000_000
	maxWeight      = 1000
	maxAttempts    = 100
	maxNameLen     = 64
	maxDuration    = 876_000 * time.Hour // added to a clock, it must not overflow
	maxMessage     = 1024                // must fit a fresh socket's send buffer in one call
	maxBinds       = 65535               // of the whole file, ranges expanded
	maxUnixPath    = 107                 // sun_path is 108 bytes with its NUL, unix(7)
	maxHostLen     = 253                 // RFC 1035 section 2.3.4, as text
	maxFileSize    = 64 << 20
	maxDepth       = 32
	maxProblems    = 1000 // reported; the rest is counted

	maxPriority        = 9
	minInterval        = 20 * time.Millisecond // of health checks
	maxHealthJitter    = 50                    // with more, two checks could follow each other at once
	maxRiseFall        = 1000
	maxMethodLen       = 32
	maxPathLen         = 1024
	minStatus          = 100 // RFC 9110 section 15
	maxStatus          = 599
	maxBody            = 1024 // of a text to look for
	maxSteps           = 100
	maxStepBytes       = 1024
	maxFailures        = 10_000
	maxPanicThreshold  = 99 // 100 would ignore health always
	maxQueueSize       = 1_000_000
	minMaxLoad         = 101 // with 100, a backend more or less would move everybody
	maxMaxLoad         = 1000
	maxRate            = 1_000_000 // a second, minute or hour
	maxRebalanceJitter = 100
)
