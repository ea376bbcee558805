// Package config reads what the user wrote: a JSON or YAML file in the simple or the full form, and
// the environment variables that override it. It opens no socket and resolves no name.
//
// Three steps lead from a text to a configuration that can be used:
//
//   - [Parse] decodes the text into a [Config]. It reports unknown and repeated
//     keys, wrong types and values that cannot be read.
//   - [Complete] fills in what follows from other values.
//   - [Validate] checks the values. It sees no text, so a Config that comes from
//     a program passes the same checks; [Config.Locate] finds the position of
//     what it reports when there is a text.
//
// Each part of the configuration has one table, its method fields: the keys, their types, defaults,
// bounds and documentation. Decoding, validation, the JSON Schema and the reference in
// docs/configuration.md all read these tables.
package config

import (
	"log/slog"
	"time"
)

// Config is a configuration. [SetDefaults] makes an empty one.
type Config struct {
	// File is the name of the file that was read, "" when there was none.
	File string
	Log  Log
	// Workers is the number of event loops; 0 is one per CPU that the process may use.
	Workers int
	Engine  Engine
	// MaxConnections bounds the connections of the whole process; 0 is derived from RLIMIT_NOFILE.
	MaxConnections int
	// User and Group are names or numbers, "" to stay as the process was started. Confine is what
	// it gives up besides.
	User, Group string
	Confine     Confine
	Drain       Drain
	Reload      Reload
	Bans        Bans
	// Geo are the databases that rules with countries or networks ask; nil without any.
	Geo *Geo
	// Admin is nil when there is no admin address.
	Admin *Admin
	// Listeners and Pools are in file order; their names are unique.
	Listeners []Listener
	Pools     []Pool
	// Warnings are about settings that are valid but probably not intended.
	Warnings Problems `json:",omitempty"`
	// Source is where the values were written; nil when a program made them.
	Source *Source `json:"-"`
}

const (
	maxWorkers     = 1024
	maxConnections = 10_000_000
)

func (c *Config) fields() fields {
	return fields{
		{"log", section(&c.Log), "What is logged; see below."},
		{"workers", integer(&c.Workers, 1, maxWorkers).def("auto"), "Event loops, 1 to 1024. `auto` means one per CPU that the process may use."},
		{"engine", enum(&c.Engine, engines, EngineAuto), "How the loops wait: `io_uring`, `epoll`, or `auto`, which is io_uring where it works."},
		{"max_connections", integer(&c.MaxConnections, 1, maxConnections).def("auto"),
			"The maximum number of connections at once, of all listeners together. `auto` derives it from RLIMIT_NOFILE. With two or more listeners, a quarter of it is [reserved for them](operations.md#limits) in equal shares."},
		{"user", account(&c.User, "the name or number of a user", "l4proxy"),
			"The user to run as once everything is open: ports, sockets, the pid file. l4proxy must be started as root, or as this user. If omitted, the process stays what it was started as. See [Privileges and confinement](operations.md#privileges-and-confinement)."},
		{"group", account(&c.Group, "the name or number of a group", "l4proxy"), "Its group. If omitted, the one that the system's user database names. Requires `user`."},
		{"confine", enum(&c.Confine, confines, ConfineAuto),
			"What the process gives up after startup, as far as the kernel can: with `auto`, privileges that no proxy needs, and writing outside of a few directories, which costs nothing at run time. `strict` also filters system calls, at about 20 ns per call. `off` gives up nothing."},
		{"drain", section(&c.Drain), "Limits of a graceful shutdown; see below."},
		{"reload", section(&c.Reload), "Whether the proxy reloads by itself when a file changes; see below."},
		{"admin", optional(&c.Admin), "The address for health checks, status and commands; see below. If omitted, there is none."},
		{"bans", section(&c.Bans), "How [banned](edge.md#bans) clients are treated, and where bans are saved; see below."},
		{"geo", optional(&c.Geo), "Databases for access control rules about [countries and networks](edge.md#geoip); see below."},
		{"listeners", required(named(&c.Listeners, "listener"), `write listeners: {web: {bind: ":8080", pool: web}}`), "The addresses that clients connect to, by name."},
		{"pools", required(named(&c.Pools, "pool"), `write pools: {web: {backends: ["127.0.0.1:8081"]}}`), "The backends, in pools by name."},
	}
}

// Log says what is logged and how.
type Log struct {
	Level  slog.Level
	Format LogFormat
	// Connections asks for one line per finished connection.
	Connections bool
	// Denied bounds the lines per second of clients that are denied.
	Denied float64
}

func (l *Log) fields() fields {
	return fields{
		{"level", enum(&l.Level, logLevels, slog.LevelInfo),
			"The least important messages to log: `debug`, `info`, `warn`, `error`. `debug` logs each step of every connection; to follow one client, use [`l4proxy debug`](operations.md#following-connections). It can also change the level while the proxy runs."},
		{"format", enum(&l.Format, logFormats, LogAuto), "`text`, `json`, or `auto`: text on a terminal, json otherwise."},
		{"connections", boolean(&l.Connections, true), "One line per finished connection."},
		{"denied", rate(&l.Denied).def("100/s"), "The most lines about denied clients, so that a flood of them cannot fill the disk. Further ones are counted in the metrics and in events, and have no line of their own."},
	}
}

// Drain limits the duration of a graceful shutdown.
type Drain struct {
	// Delay is how long the proxy keeps accepting connections after the signal.
	Delay time.Duration
	// Timeout is how long live connections may continue after that; 0 closes them at once.
	Timeout time.Duration
	// Spread is the part of Timeout over which connections are closed when they are quiet; 0 closes
	// none before Timeout.
	Spread time.Duration
}

func (d *Drain) fields() fields {
	return fields{
		{"delay", duration(&d.Delay).def("0s"), "How long to keep accepting connections after the signal to stop."},
		{"timeout", duration(&d.Timeout).def("30s"), "How long live connections may continue after that. 0 closes them at once."},
		{"spread", duration(&d.Spread).def("0s"),
			"If set, connections are closed one after another, in random order, spread over this part of `timeout`. Each is closed as soon as no request is in progress on it; see [Draining](operations.md#draining). 0 closes none before the end of `timeout`."},
	}
}

// Reload says when the proxy reloads without being asked.
type Reload struct {
	// Watch asks for a reload when the configuration file or a file that it names has changed.
	Watch bool
	// Settle is how long the files must have been left alone before that; never 0.
	Settle time.Duration
}

func (r *Reload) fields() fields {
	return fields{
		{"watch", boolean(&r.Watch, false), "Reload when the content of the configuration file changes, or of a file that it names: a list, or `${file:PATH}`. Symbolic links are followed, including links to a directory that is replaced as a whole, as Kubernetes does with a mounted ConfigMap."},
		{"settle", duration(&r.Settle).positive().def("200ms"), "How long the files must have been left alone before the reload, so that several files can be changed together. Not 0."},
	}
}
