package config

import (
	"fmt"

	"github.com/invopop/jsonschema"
)

// section describes the keys of one mapping: what the decoder accepts and what
// the schema shows, in one place.
type section struct {
	// prefix names the mapping in messages ("connect."); "" when the key
	// alone is clear.
	prefix string
	keys   []key
	// elsewhere are keys that people look for here.
	elsewhere map[string]place
}

// place is where a key belongs ("pool"), and how it is written there.
type place struct{ owner, example string }

// key is one key of a section.
type key struct {
	name     string
	doc      string
	schema   *jsonschema.Schema
	required bool
	hint     string // what to write when a required key is missing
	// unsupported keys belong to the configuration language, but their
	// feature is not built: they are refused, never ignored.
	unsupported bool
}

// example is what to write for a section that is there but no mapping.
func (s *section) example() string {
	for _, k := range s.keys {
		if k.required {
			return k.hint
		}
	}
	if s.keys[0].schema.Default != nil {
		return fmt.Sprintf("write {%s: %v}", s.keys[0].name, s.keys[0].schema.Default)
	}
	return "write {" + s.keys[0].name + ": ...}"
}

func (s *section) key(name string) *key {
	for i := range s.keys {
		if s.keys[i].name == name {
			return &s.keys[i]
		}
	}
	return nil
}

func (s *section) path(name string) string {
	return s.prefix + name
}

// names are the supported keys.
func (s *section) names() []string {
	var names []string
	for _, k := range s.keys {
		if !k.unsupported {
			names = append(names, k.name)
		}
	}
	return names
}

// required are the keys to show for a mapping that is none: the required ones,
// or all when none is.
func (s *section) required() []string {
	var names []string
	for _, k := range s.keys {
		if k.required {
			names = append(names, k.name)
		}
	}
	if names == nil {
		return s.names()
	}
	return names
}

// later makes keys whose feature is not built yet.
func later(names ...string) []key {
	keys := make([]key, len(names))
	for i, name := range names {
		keys[i] = key{name: name, unsupported: true}
	}
	return keys
}

// choice is a closed list of words.
type choice struct {
	what        string
	values      []string
	unsupported []string
	instead     map[string]string // what to write for a word that people try
}

func (c *choice) check(text string) *fault {
	for _, v := range c.values {
		if v == text {
			return nil
		}
	}
	for _, v := range c.unsupported {
		if v == text {
			return faultf("write "+oneOf(c.values), "%s %s is not supported yet", c.what, v)
		}
	}
	if fix, ok := c.instead[text]; ok {
		return faultf(fix, "unknown %s %s", c.what, quote(text))
	}
	return faultf(didYouMean(text, c.values), "unknown %s %s", c.what, quote(text))
}

var (
	logLevels   = &choice{what: "log level", values: []string{"debug", "info", "warn", "error"}}
	logFormats  = &choice{what: "log format", values: []string{"auto", "text", "json"}}
	engines     = &choice{what: "engine", values: []string{"auto", "io_uring", "epoll"}}
	policies    = &choice{what: "policy", values: []string{"least_conn", "round_robin", "p2c", "random", "source_hash", "maglev", "first"}}
	denyActions = &choice{what: "deny action", values: []string{"message", "close", "reset"},
		unsupported: []string{"drop", "tarpit"}}
	noBackendActions = &choice{what: "action without a backend", values: []string{"close", "reset", "message", "queue", "unlisten"}}
	liveActions      = &choice{what: "action for live connections", values: []string{"keep", "drain", "close", "reset"}}
	healthTypes      = &choice{what: "type of health check", values: []string{"tcp", "tls", "http", "expect"},
		instead: map[string]string{"https": "write type: http and tls: true", "ssl": "write tls"}}
)

// The three keys of the simple form.
const (
	keyListenerPort = "LISTENER_PORT"
	keyBackendPorts = "BACKEND_PORTS"
	keyAccessList   = "ACCESS_CONTROL_LIST"
)

var simpleSection = &section{keys: []key{
	{name: keyListenerPort, doc: "The address to listen on: host:port.", schema: stringSchema(),
		hint: `write "LISTENER_PORT": "127.0.0.1:8080", or set the environment variable`},
	{name: keyBackendPorts, doc: "The backends' addresses, host:port each. The one with the least connections is picked.",
		schema: nonEmpty(listOf(stringSchema())), hint: `write "BACKEND_PORTS": ["127.0.0.1:8081"], or set the environment variable`},
	{name: keyAccessList, doc: "Who may connect: IP addresses and CIDR prefixes. An empty list denies everyone.",
		schema: listOf(stringSchema()), hint: `write "ACCESS_CONTROL_LIST": ["127.0.0.1"], or set the environment variable`},
}}

var fullSection = &section{keys: append([]key{
	{name: "log", doc: "What is logged and how.", schema: ref("log")},
	{name: "workers", doc: "Event loops; auto is one for each CPU that the process may use.",
		schema: withDefault(autoOr(1, maxWorkers), "auto")},
	{name: "engine", doc: "How the event loops wait; auto is io_uring where it works, else epoll.",
		schema: withDefault(enumSchema(engines), defaultEngine)},
	{name: "max_connections", doc: "The most connections at once, of all listeners; auto derives it from RLIMIT_NOFILE.",
		schema: withDefault(autoOr(1, maxConnections), "auto")},
	{name: "drain", doc: "How a graceful stop is bounded.", schema: ref("drain")},
	{name: "listeners", doc: "The addresses that clients connect to, by name.", schema: named("listener"),
		required: true, hint: `write listeners: {web: {bind: ":8080", pool: web}}`},
	{name: "pools", doc: "The backends, in pools by name.", schema: named("pool"),
		required: true, hint: `write pools: {web: {backends: ["127.0.0.1:8081"]}}`},
}, later("admin")...)}

var logSection = &section{prefix: "log.", keys: []key{
	{name: "level", doc: "The least important messages to log.", schema: withDefault(enumSchema(logLevels), defaultLogLevel)},
	{name: "format", doc: "auto is text on a terminal and json otherwise.", schema: withDefault(enumSchema(logFormats), defaultLogFormat)},
	{name: "connections", doc: "One line for each finished connection.", schema: withDefault(boolSchema(), defaultLogConnections)},
}}

var drainSection = &section{prefix: "drain.", keys: []key{
	{name: "delay", doc: "How long to keep accepting after the signal to stop.", schema: withDefault(durationSchema(), "0s")},
	{name: "timeout", doc: "How long live connections may go on after that.", schema: withDefault(durationSchema(), "30s")},
}}

var listenerSection = &section{keys: append([]key{
	{name: "bind", doc: "host:port, \"[::]:port\", \"host:8000-8010\", unix:/path, or a list of them. An empty host is every address.",
		schema: oneOrMore(stringSchema()), required: true, hint: `write bind: ":8080"`},
	{name: "mode", doc: "The permissions of its unix sockets, in octal; 0777 minus the umask when left out.", schema: modeSchema()},
	{name: "owner", doc: "The owner of its unix sockets: user, user:group or :group; those of the process when left out.", schema: ownerSchema()},
	{name: "pool", doc: "The pool that connections go to; may be left out when there is only one pool.", schema: stringSchema()},
	{name: "acl", doc: "Rules for clients' addresses; the first that matches decides. When none matches, a list with an allow rule denies, any other allows.",
		schema: listOf(ref("rule"))},
	{name: "deny_message", doc: "What a client receives that a rule denies with message.",
		schema: withDefault(stringSchema(), DefaultDenyMessage)},
	{name: "max_connections", doc: "The most connections of this listener at once; no bound of its own when left out.",
		schema: integerSchema(1, maxConnections)},
	{name: "timeouts", doc: "When a connection is ended because nothing moves.", schema: ref("timeouts")},
	{name: "when_no_backend", doc: "What a client sees that no backend can serve: a close, a reset, the no_backend_message, the pool's queue; or nobody can connect meanwhile (unlisten).",
		schema: withDefault(enumSchema(noBackendActions), defaultWhenNoBackend)},
	{name: "no_backend_message", doc: "What such a client receives with when_no_backend: message.",
		schema: withDefault(stringSchema(), DefaultNoBackendMessage)},
}, later("proxy_protocol", "routes", "per_client")...), elsewhere: map[string]place{
	"queue":  {"the pool", "pools: {web: {queue: {size: 1000}}}"},
	"health": {"the pool", "pools: {web: {health: {type: tcp}}}"},
	"policy": {"the pool", "pools: {web: {policy: least_conn}}"},
}}

var ruleSection = &section{keys: []key{
	{name: "allow", doc: "IP addresses, CIDR prefixes and \"file:PATH\" lists of them, to let in.", schema: oneOrMore(stringSchema())},
	{name: "deny", doc: "IP addresses, CIDR prefixes and \"file:PATH\" lists of them, to keep out.", schema: oneOrMore(stringSchema())},
	{name: "with", doc: "What a denied client sees: the deny_message, a close, or a reset.",
		schema: withDefault(enumSchema(denyActions), defaultWith)},
}}

var timeoutsSection = &section{prefix: "timeouts.", keys: append([]key{
	{name: "idle", doc: "End a connection on which nothing moved for so long; 0 is never.", schema: withDefault(durationSchema(), "1h")},
	{name: "half_close", doc: "Once one side has finished sending, reset the connection when no byte moves for that long; 0 is never. With off, the first FIN ends the connection.",
		schema: withDefault(durationOrOff(), "1m")},
}, later("handshake")...)}

// innerSections are the sections below the top of the full form, by the name
// that the schema refers to them with.
var innerSections = map[string]*section{
	"log":      logSection,
	"drain":    drainSection,
	"listener": listenerSection,
	"rule":     ruleSection,
	"timeouts": timeoutsSection,
	"pool":     poolSection,
	"backend":  backendSection,
	"connect":  connectSection,

	"health":    healthSection,
	"step":      stepSection,
	"outlier":   outlierSection,
	"queue":     queueSection,
	"hash":      hashSection,
	"rebalance": rebalanceSection,
}
