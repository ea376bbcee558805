// Package config reads what the user wrote: a JSON or YAML file in the simple
// or the full form, and the environment variables that override it. It returns
// the effective configuration with every default filled in, or all problems
// with their positions. It opens no socket and resolves no name.
package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Config is the effective configuration: validated, all defaults filled in.
type Config struct {
	// File is the name the configuration was read from, "" when it came from
	// environment variables alone.
	File string
	// Simple tells that the simple form was used (LISTENER_PORT and so on).
	Simple bool
	Log    Log
	// Workers is the number of event loops; 0 means one for each CPU that the
	// process may use.
	Workers int
	// Engine is "auto", "io_uring" or "epoll".
	Engine string
	// MaxConnections bounds the connections of the whole process; 0 means
	// derived from RLIMIT_NOFILE.
	MaxConnections int
	Drain          Drain
	// Listeners and Pools are in file order; names are unique.
	Listeners []Listener
	Pools     []Pool
	// Warnings are about settings that are valid but probably not intended.
	Warnings Problems `json:",omitempty"`
}

// Log says what is logged and how.
type Log struct {
	// Level is "debug", "info", "warn" or "error".
	Level string
	// Format is "auto" (text on a terminal, JSON otherwise), "text" or "json".
	Format string
	// Connections asks for one line for each finished connection.
	Connections bool
}

// Drain bounds a graceful stop.
type Drain struct {
	// Delay is how long the proxy keeps accepting after it has been told to
	// stop.
	Delay time.Duration
	// Timeout is how long live connections may go on after that; 0 closes
	// them at once.
	Timeout time.Duration
}

// Listener is one set of addresses that clients connect to.
type Listener struct {
	Name  string
	Binds []Bind
	// Socket applies to the unix sockets among Binds.
	Socket Socket
	// Pool is the name of an entry of Config.Pools.
	Pool string
	// ACL is nil when there is none: everyone is allowed.
	ACL *ACL
	// DenyMessage is sent by rules (and by the default) that deny with
	// "message".
	DenyMessage string
	// MaxConnections bounds this listener; 0 means only the bound of the
	// process holds.
	MaxConnections int
	Timeouts       Timeouts
	// WhenNoBackend is what a client sees that no backend can serve: "close",
	// "reset", "message", "queue" (it waits in the pool's queue) or "unlisten"
	// (nobody can connect until a backend is back).
	WhenNoBackend string
	// NoBackendMessage is what "message" sends.
	NoBackendMessage string
	Pos              Position
}

// Timeouts of a relayed connection.
type Timeouts struct {
	// Idle ends a connection on which nothing moved for so long; 0 is off.
	Idle time.Duration
	// HalfClose ends a connection of which one side has finished sending and
	// the other has been silent for so long; 0 is off.
	HalfClose time.Duration
	// CloseOnFIN ends a connection when one side has finished sending
	// (half_close: off).
	CloseOnFIN bool
}

// Bind is one address to listen on. Port ranges are already expanded.
type Bind struct {
	// Network is "tcp" or "unix".
	Network string
	// Host is an IP address (without brackets), a host name, or "" for every
	// address of the machine, IPv4 and IPv6. Empty for unix.
	Host string
	// Port 0 lets the kernel choose.
	Port uint16
	// Path is the socket's absolute path, for unix.
	Path string
	Pos  Position
}

// String returns the address as it is written in a file: "host:port" with
// brackets around IPv6, or "unix:/path".
func (b Bind) String() string {
	return formatAddress(b.Network, b.Host, b.Port, b.Path)
}

func formatAddress(network, host string, port uint16, path string) string {
	if network == "unix" {
		return "unix:" + path
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// ACL is an ordered list of rules; the first that matches decides.
type ACL struct {
	Rules []Rule
}

// DefaultRule is the name to log and count under when no rule of an ACL
// matched and its default decided.
const DefaultRule = "default"

// DefaultAllow reports what happens to an address that no rule matches: a list
// with at least one allow rule denies it (with the message), any other list,
// and no list at all (nil), allows it.
func (a *ACL) DefaultAllow() bool {
	if a == nil {
		return true
	}
	for i := range a.Rules {
		if a.Rules[i].Allow {
			return false
		}
	}
	return true
}

// Rule is one entry of an ACL.
type Rule struct {
	Allow bool
	// Prefixes are masked; IPv4-mapped IPv6 is written as IPv4; a single
	// address is a /32 or a /128. They may repeat and overlap.
	Prefixes []netip.Prefix
	// Lists are the files that the rule names. With no prefix there or here,
	// the rule matches no client.
	Lists []*List
	// With is what a denied client sees: "message", "close" or "reset". Empty
	// for allow rules.
	With string
	// Name is a short label for logs and metrics: the kind and the place in
	// the list, counted from 0 ("deny[0]", "allow[1]").
	Name string
	Pos  Position
}

// Count returns how many prefixes the rule has, those of its lists included.
func (r *Rule) Count() int {
	n := len(r.Prefixes)
	for _, l := range r.Lists {
		n += len(l.Prefixes)
	}
	return n
}

// List is the content of a file that ACLs name: one IP address or CIDR prefix
// per line, with comments (# or ;) and blank lines. Rules that name the same
// file share one List.
type List struct {
	// Name is the file's path.
	Name string
	// Prefixes follow the same rules as Rule.Prefixes.
	Prefixes []netip.Prefix
}

// Position is a place in a configuration file. Line and Col count from 1, Col
// in characters. The zero value means "not from a file".
type Position struct {
	File string
	Line int
	Col  int
}

// String returns "FILE:LINE:COL", or "" for the zero value.
func (p Position) String() string {
	if p == (Position{}) {
		return ""
	}
	return strings.Join([]string{p.File, strconv.Itoa(p.Line), strconv.Itoa(p.Col)}, ":")
}
