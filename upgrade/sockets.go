package upgrade

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

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
	gone []bool // was taken; nil until one was
	// places are the indexes of the listening sockets by port or path. Comparing each bind with
	// each socket takes seconds with 1,000 listeners, and clients wait meanwhile.
	places map[place][]int
	keep   map[string]bool // by path
}

// place is the part of an address by which sockets are found.
type place struct {
	path string
	port uint16
}

// placeOf is the place of a socket; the zero value for other sockets.
func placeOf(fd int) place {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return place{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrUnix:
		return place{path: sa.Name}
	case *unix.SockaddrInet4:
		return place{port: uint16(sa.Port)}
	case *unix.SockaddrInet6:
		return place{port: uint16(sa.Port)}
	}
	return place{}
}

// candidates are the indexes of the sockets that may listen on bind.
func (s *Sockets) candidates(bind listen.Bind) []int {
	if s.places == nil {
		s.places = make(map[place][]int)
		for i, o := range s.all {
			if o.Kind == KindListener {
				at := placeOf(o.FD)
				s.places[at] = append(s.places[at], i)
			}
		}
	}
	if bind.IsUnix() {
		return s.places[place{path: bind.Path}]
	}
	if port := bind.Addr.Port(); port != 0 {
		return s.places[place{port: port}]
	}
	every := make([]int, len(s.all))
	for i := range every {
		every[i] = i
	}
	return every
}

// Listener returns the sockets that listen on bind, and which then belong to the caller. The name
// of the listener matters only for port 0, which can be any port: a listener may have been renamed.
func (s *Sockets) Listener(name string, bind listen.Bind) (fds []int) {
	var first netip.AddrPort // all have the address of the first: [::] before 0.0.0.0, and one port
	anyPort := !bind.IsUnix() && bind.Addr.Port() == 0
	at := make(map[int]netip.AddrPort)
	for _, i := range s.candidates(bind) {
		o := &s.all[i]
		if s.taken(i) || o.Kind != KindListener || anyPort && o.Name != name {
			continue
		}
		own, same := listen.At(o.FD, bind)
		if !same {
			continue
		}
		at[i] = own
		if !first.IsValid() || own.Addr().Is6() && first.Addr().Is4() {
			first = own
		}
	}
	for _, i := range slices.Sorted(maps.Keys(at)) {
		if at[i] == first {
			fds = append(fds, s.take(i))
		}
	}
	return fds
}

// KeepFile reports whether the file of a unix socket belongs to another program.
func (s *Sockets) KeepFile(bind listen.Bind) bool { return s.keep[bind.Path] }

// Named returns the descriptors of a kind and a name, which then belong to the caller.
func (s *Sockets) Named(kind, name string) (fds []int) {
	for i, o := range s.all {
		if o.Kind == kind && o.Name == name && !s.taken(i) {
			fds = append(fds, s.take(i))
		}
	}
	return fds
}

func (s *Sockets) taken(i int) bool { return s.gone != nil && s.gone[i] }

func (s *Sockets) take(i int) (fd int) {
	if s.gone == nil {
		s.gone = make([]bool, len(s.all))
	}
	s.gone[i] = true
	o := &s.all[i]
	if path, ok := strings.CutPrefix(o.Bind, "unix:"); ok && o.KeepFile {
		if s.keep == nil {
			s.keep = make(map[string]bool)
		}
		s.keep[path] = true
	}
	return o.FD
}

// Close closes the sockets that were not taken, and returns them for the log. The old process has
// them too: their clients are not reset before that has ended.
func (s *Sockets) Close() (closed []Socket) {
	for i, o := range s.all {
		if !s.taken(i) {
			closeAll([]int{o.FD})
			closed = append(closed, o)
		}
	}
	*s = Sockets{keep: s.keep}
	return closed
}
