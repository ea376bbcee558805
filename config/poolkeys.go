package config

var poolSection = &section{keys: append([]key{
	{name: "policy", doc: "How a backend is picked.", schema: withDefault(enumSchema(policies), defaultPolicy)},
	{name: "backends", doc: "host:port or unix:/path, or a mapping with address and more.",
		schema:   nonEmpty(listOf(anyOf(stringSchema(), ref("backend")))),
		required: true, hint: `write backends: ["127.0.0.1:8081"]`},
	{name: "connect", doc: "How backends are dialled.", schema: ref("connect")},
	{name: "health", doc: "How backends are checked; not at all when left out.", schema: ref("health")},
	{name: "outlier", doc: "When backends are ejected whose connections fail; never when left out.", schema: ref("outlier")},
	{name: "panic_threshold", doc: "When at most this share of the backends is usable, health and outlier are ignored; 0% is never.",
		schema: withDefault(percentSchema(), "0%")},
	{name: "slow_start", doc: "How long a backend that is back takes to get its full share; 0 is none.", schema: withDefault(durationSchema(), "0s")},
	{name: "on_down", doc: "What becomes of a backend's live connections when it goes down.",
		schema: withDefault(enumSchema(liveActions), defaultOnDown)},
	{name: "on_removed", doc: "What becomes of a backend's live connections when a reload removes it.",
		schema: withDefault(enumSchema(liveActions), defaultOnRemoved)},
	{name: "on_recovered", doc: "What becomes of live connections on less preferred backends when a preferred one is back.",
		schema: withDefault(enumSchema(liveActions), defaultOnRecovered)},
	{name: "spread", doc: "The time over which these three end connections; 0 is at once.", schema: withDefault(durationSchema(), "5s")},
	{name: "queue", doc: "Where clients wait while every backend is full; nobody waits when left out.", schema: ref("queue")},
	{name: "zone", doc: "Where this proxy is: backends of the same zone are preferred.", schema: stringSchema()},
	{name: "hash", doc: "How source_hash and maglev map clients to backends.", schema: ref("hash")},
	{name: "rebalance", doc: "How fast live connections are moved from backends that have too many; never when left out.", schema: ref("rebalance")},
}, later("send_proxy")...), elsewhere: map[string]place{
	"when_no_backend":    {"the listener", "listeners: {web: {when_no_backend: reset}}"},
	"no_backend_message": {"the listener", "listeners: {web: {when_no_backend: message}}"},
	"max_connections":    {"a backend or a listener", `backends: [{address: "127.0.0.1:8081", max_connections: 100}]`},
	"max_load":           {"the key hash", "hash: {max_load: 125%}"},
	"hedge":              {"the key connect", "connect: {hedge: 200ms}"},
}}

var backendSection = &section{prefix: "backend ", keys: []key{
	{name: "address", doc: "host:port or unix:/path.", schema: stringSchema(), required: true, hint: `write address: "127.0.0.1:8081"`},
	{name: "weight", doc: "The share of connections, relative to the other backends of the pool.",
		schema: withDefault(integerSchema(1, maxWeight), defaultWeight)},
	{name: "max_connections", doc: "The most connections at once; no bound when left out.", schema: integerSchema(1, maxConnections)},
	{name: "backup", doc: "Serve only when no other backend can.", schema: withDefault(boolSchema(), false)},
	{name: "priority", doc: "The backends with the lowest number serve while one of them can; not for a backup.",
		schema: withDefault(integerSchema(0, maxPriority), 0)},
	{name: "zone", doc: "Where the backend is.", schema: stringSchema()},
	{name: "down", doc: "Keep it in the file, but never use it.", schema: withDefault(boolSchema(), false)},
}}

var connectSection = &section{prefix: "connect.", keys: []key{
	{name: "timeout", doc: "The time for one attempt.", schema: withDefault(durationSchema(), "3s")},
	{name: "attempts", doc: "How many different backends are tried for one client.",
		schema: withDefault(integerSchema(1, maxAttempts), defaultAttempts)},
	{name: "hedge", doc: "Dial a second backend beside the first when that has not answered for so long; 0 is never.",
		schema: withDefault(durationSchema(), "0s")},
}}

var healthSection = &section{prefix: "health.", keys: []key{
	{name: "type", doc: "What is checked: a connection (tcp), a handshake (tls), an answer (http), or a conversation (expect).",
		schema: withDefault(enumSchema(healthTypes), defaultHealthType)},
	{name: "interval", doc: "The time from one check of a backend to the next.", schema: withDefault(durationSchema(), "2s")},
	{name: "fast_interval", doc: "The same while the backend's state is in doubt; a quarter of interval, and at least 100ms, when left out.",
		schema: durationSchema()},
	{name: "timeout", doc: "The time for one check.", schema: withDefault(durationSchema(), "1s")},
	{name: "jitter", doc: "How much shorter an interval may be, so that checks do not come all at once.", schema: withDefault(percentSchema(), "10%")},
	{name: "rise", doc: "So many passes in a row bring a backend up.", schema: withDefault(integerSchema(1, maxRiseFall), defaultRise)},
	{name: "fall", doc: "So many failures in a row take a backend down.", schema: withDefault(integerSchema(1, maxRiseFall), defaultFall)},
	{name: "port", doc: "The port to check, when it is not the backend's.", schema: integerSchema(1, 65535)},
	{name: "server_name", doc: "The name to ask for and to verify; the backend's host when left out. For tls, and for http with tls.", schema: stringSchema()},
	{name: "verify", doc: "Whether the certificate must be valid. For tls, and for http with tls.", schema: withDefault(boolSchema(), false)},
	{name: "tls", doc: "For http: over TLS.", schema: withDefault(boolSchema(), false)},
	{name: "method", doc: "For http: the method.", schema: withDefault(stringSchema(), defaultMethod)},
	{name: "path", doc: "For http: the path to ask for, with its query.", schema: withDefault(stringSchema(), defaultPath)},
	{name: "host", doc: "For http: the Host to ask for; the backend's host and port when left out.", schema: stringSchema()},
	{name: "status", doc: "For http: the status codes that pass, such as 200 or \"200-399\".", schema: withDefault(oneOrMore(statusSchema()), "200-399")},
	{name: "body", doc: "For http: a text that the answer must contain.", schema: stringSchema()},
	{name: "script", doc: "For expect: what to send and to receive, in this order.", schema: nonEmpty(listOf(ref("step")))},
}}

var stepSection = &section{keys: []key{
	{name: "send", doc: "A text, or \"hex:\" and bytes in hexadecimal.", schema: stringSchema()},
	{name: "receive", doc: "What must be among the bytes received since the last receive: a text, or \"hex:\" and bytes in hexadecimal.", schema: stringSchema()},
}}

var outlierSection = &section{prefix: "outlier.", keys: []key{
	{name: "failures", doc: "So many failed connections in a row eject a backend.", schema: withDefault(integerSchema(1, maxFailures), defaultFailures)},
	{name: "eject", doc: "How long it is left out.", schema: withDefault(durationSchema(), "30s")},
	{name: "max_ejected", doc: "The most of the pool's backends that may be ejected at once.", schema: withDefault(percentSchema(), "50%")},
	{name: "first_byte", doc: "How long a client that has sent something may wait for the first byte before that counts as a failure; 0 is for ever.", schema: withDefault(durationSchema(), "0s")},
}}

var queueSection = &section{prefix: "queue.", keys: []key{
	{name: "size", doc: "How many clients may wait at once.", schema: withDefault(integerSchema(1, maxQueueSize), defaultQueueSize)},
	{name: "timeout", doc: "How long each may wait.", schema: withDefault(durationSchema(), "10s")},
}}

var hashSection = &section{prefix: "hash.", keys: []key{
	{name: "seed", doc: "Any text; another seed is another mapping.", schema: stringSchema()},
	{name: "max_load", doc: "For source_hash: a backend that has this much of its fair share gets no more; no bound when left out.", schema: percentSchema()},
}}

var rebalanceSection = &section{prefix: "rebalance.", keys: []key{
	{name: "rate", doc: "How many connections are ended: 10/s, 30/m or 2/h.", schema: withDefault(rateSchema(), "10/s")},
	{name: "jitter", doc: "How much the time between two varies.", schema: withDefault(percentSchema(), "20%")},
}}
