package config

import (
	"log/slog"
	"slices"
)

// words is a closed list of words and the values that they stand for. Each list exists once:
// decoding, validation, the schema and the reference all use it.
type words[T comparable] struct {
	what string // for messages: "unknown policy"
	list []word[T]
	// unsupported words belong to the configuration language, but what they ask for is not built.
	// instead says what to write for a word that people try.
	unsupported []string
	instead     map[string]string
}

type word[T comparable] struct {
	text  string
	value T
}

// texts are the words in their order.
func (w *words[T]) texts() []string {
	texts := make([]string, len(w.list))
	for i := range w.list {
		texts[i] = w.list[i].text
	}
	return texts
}

// text is the word for a value, or "unknown".
func (w *words[T]) text(v T) string {
	i := slices.IndexFunc(w.list, func(word word[T]) bool { return word.value == v })
	if i < 0 {
		return "unknown"
	}
	return w.list[i].text
}

func (w *words[T]) has(v T) bool {
	return slices.ContainsFunc(w.list, func(word word[T]) bool { return word.value == v })
}

// parse returns the value of a word.
func (w *words[T]) parse(text string) (T, *Fault) {
	for _, word := range w.list {
		if word.text == text {
			return word.value, nil
		}
	}
	var none T
	if slices.Contains(w.unsupported, text) {
		return none, faultf("write "+oneOf(w.texts()), "%s %s is not supported yet", w.what, text)
	}
	fix, ok := w.instead[text]
	if !ok {
		fix = didYouMean(text, w.texts())
	}
	return none, faultf(fix, "unknown %s %s", w.what, quote(text))
}

var logLevels = &words[slog.Level]{what: "log level", list: []word[slog.Level]{
	{"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn}, {"error", slog.LevelError},
}}

// LogFormat is how log lines are written.
type LogFormat uint8

// The log formats. LogAuto is text on a terminal, JSON otherwise.
const (
	LogAuto LogFormat = iota
	LogText
	LogJSON
)

var logFormats = &words[LogFormat]{what: "log format", list: []word[LogFormat]{
	{"auto", LogAuto}, {"text", LogText}, {"json", LogJSON},
}}

func (f LogFormat) String() string { return logFormats.text(f) }

// Engine is how the event loops wait for the kernel.
type Engine uint8

// The engines. EngineAuto is io_uring where the kernel allows it, epoll otherwise.
const (
	EngineAuto Engine = iota
	EngineIOURing
	EngineEpoll
)

var engines = &words[Engine]{what: "engine", list: []word[Engine]{
	{"auto", EngineAuto}, {"io_uring", EngineIOURing}, {"epoll", EngineEpoll},
}}

func (e Engine) String() string { return engines.text(e) }

// Policy is how a pool picks a backend.
type Policy uint8

// The policies.
const (
	LeastConn Policy = iota
	RoundRobin
	P2C
	Random
	SourceHash
	Maglev
	First
)

var policies = &words[Policy]{what: "policy", list: []word[Policy]{
	{"least_conn", LeastConn}, {"round_robin", RoundRobin}, {"p2c", P2C}, {"random", Random},
	{"source_hash", SourceHash}, {"maglev", Maglev}, {"first", First},
}}

func (p Policy) String() string { return policies.text(p) }

// DenyAction is what a denied client sees.
type DenyAction uint8

// The deny actions: the listener's deny_message, a close without a word, a reset, nothing at all,
// and an open connection that nothing ever comes from.
const (
	DenyMessage DenyAction = iota
	DenyClose
	DenyReset
	DenyDrop
	DenyTarpit
)

var denyActions = &words[DenyAction]{what: "deny action", list: []word[DenyAction]{
	{"message", DenyMessage}, {"close", DenyClose}, {"reset", DenyReset}, {"drop", DenyDrop},
	{"tarpit", DenyTarpit},
}}

func (a DenyAction) String() string { return denyActions.text(a) }

// StartTLS is a protocol whose clients may ask for TLS before they send a ClientHello.
type StartTLS uint8

// The protocols.
const (
	StartTLSOff StartTLS = iota
	StartTLSPostgres
)

var startTLSProtocols = &words[StartTLS]{what: "protocol", list: []word[StartTLS]{
	{"off", StartTLSOff}, {"postgres", StartTLSPostgres},
}, instead: map[string]string{"postgresql": "write postgres", "pg": "write postgres", "pgsql": "write postgres"}}

func (s StartTLS) String() string { return startTLSProtocols.text(s) }

// NoBackend is what happens to a client that no backend can serve.
type NoBackend uint8

// What happens without a backend. NoBackendQueue lets the client wait in the pool's queue.
// NoBackendUnlisten closes the listener until a backend is back.
const (
	NoBackendClose NoBackend = iota
	NoBackendReset
	NoBackendMessage
	NoBackendQueue
	NoBackendUnlisten
)

var noBackendActions = &words[NoBackend]{what: "action without a backend", list: []word[NoBackend]{
	{"close", NoBackendClose}, {"reset", NoBackendReset}, {"message", NoBackendMessage},
	{"queue", NoBackendQueue}, {"unlisten", NoBackendUnlisten},
}}

func (a NoBackend) String() string { return noBackendActions.text(a) }

// LiveAction is what happens to the live connections of a backend when its state changes.
type LiveAction uint8

// The actions for live connections.
const (
	LiveKeep LiveAction = iota
	LiveDrain
	LiveClose
	LiveReset
)

var liveActions = &words[LiveAction]{what: "action for live connections", list: []word[LiveAction]{
	{"keep", LiveKeep}, {"drain", LiveDrain}, {"close", LiveClose}, {"reset", LiveReset},
}}

func (a LiveAction) String() string { return liveActions.text(a) }

// Family is which addresses of a host name are used.
type Family uint8

// The families.
const (
	FamilyAny Family = iota
	FamilyIPv4
	FamilyIPv6
)

var families = &words[Family]{what: "address family", list: []word[Family]{
	{"any", FamilyAny}, {"ipv4", FamilyIPv4}, {"ipv6", FamilyIPv6},
}}

func (f Family) String() string { return families.text(f) }

// HealthType is what a health check does.
type HealthType uint8

// The types of health checks: a connection, a TLS handshake, an HTTP request, a scripted
// conversation.
const (
	HealthTCP HealthType = iota
	HealthTLS
	HealthHTTP
	HealthExpect
)

var healthTypes = &words[HealthType]{what: "type of health check", list: []word[HealthType]{
	{"tcp", HealthTCP}, {"tls", HealthTLS}, {"http", HealthHTTP}, {"expect", HealthExpect},
}, instead: map[string]string{"https": "write type: http and tls: true", "ssl": "write tls"}}

func (t HealthType) String() string { return healthTypes.text(t) }
