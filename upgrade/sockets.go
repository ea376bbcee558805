package upgrade

import (
	"net/netip"
	"strings"

	"l4proxy/listen"
)

// The kinds of sockets that are handed over.
const (
	KindListener = "listener" // Name is that of the listener
	KindAdmin    = "admin"
)

// Socket is a listening socket that is handed over, or another descriptor that a process keeps for
// its successor.
type Socket struct {
	Kind string
	Name string
	Bind string // for messages
	FD   int
	// KeepFile says that the file of a unix socket belongs to another program, such as systemd.
	KeepFile bool
}

// Sockets are those that the old process has handed over. Each is taken once.
type Sockets struct {
	all  []Socket
	keep map[string]bool // by path
}

// Listener returns the sockets that listen on bind, and which then belong to the caller. The name
// of the listener matters only for port 0, which can be any port: a listener may have been renamed.
func (s *Sockets) Listener(name string, bind listen.Bind) (fds []int) {
	var first netip.AddrPort // all have the address of the first: [::] before 0.0.0.0, and one port
	matches := func(o Socket) (netip.AddrPort, bool) {
		at, same := listen.At(o.FD, bind)
		anyPort := !bind.IsUnix() && bind.Addr.Port() == 0
		return at, same && o.Kind == KindListener && (!anyPort || o.Name == name)
	}
	for _, o := range s.all {
		if at, ok := matches(o); ok && (!first.IsValid() || at.Addr().Is6() && first.Addr().Is4()) {
			first = at
		}
	}
	return s.take(func(o Socket) bool {
		at, ok := matches(o)
		return ok && at == first
	})
}

// KeepFile reports whether the file of a unix socket belongs to another program.
func (s *Sockets) KeepFile(bind listen.Bind) bool { return s.keep[bind.Path] }

// Named returns the descriptors of a kind and a name, which then belong to the caller.
func (s *Sockets) Named(kind, name string) []int {
	return s.take(func(o Socket) bool { return o.Kind == kind && o.Name == name })
}

func (s *Sockets) take(wanted func(Socket) bool) (fds []int) {
	var kept []Socket
	for _, o := range s.all {
		if wanted(o) {
			fds = append(fds, o.FD)
			if path, ok := strings.CutPrefix(o.Bind, "unix:"); ok && o.KeepFile {
				if s.keep == nil {
					s.keep = make(map[string]bool)
				}
				s.keep[path] = true
			}
		} else {
			kept = append(kept, o)
		}
	}
	s.all = kept
	return fds
}

// Close closes the sockets that were not taken, and returns them for the log. The old process has
// them too: their clients are not reset before that has ended.
func (s *Sockets) Close() (closed []Socket) {
	for _, o := range s.all {
		closeAll([]int{o.FD})
	}
	closed, s.all = s.all, nil
	return closed
}
