package proxy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/listen"
)

// bound is an address of a listener with its listening sockets.
type bound struct {
	listener  *Listener
	bind      listen.Bind // as configured
	access    *listen.Access
	inherited bool
	keepFile  bool // another program keeps the sockets open, and the file of a unix socket
	*listen.Sockets
}

// unlink removes the file of a unix socket, unless another program does.
func (b *bound) unlink() {
	if !b.keepFile {
		b.Unlink()
	}
}

// change is what becomes of the listening sockets when a State follows another one.
type change struct {
	server *Server
	bound  []*bound        // all addresses of the new State
	keep   map[*bound]want // the old ones that stay
	opened []*bound        // those of bound that are new
	stays  map[string]bool // listeners of both States
	// relisten are those of keep whose backlog changes.
	relisten []*bound
	undo     []func() // of changes to files of unix sockets
}

// want is an address that a State asks for, and the sockets that it gets.
type want struct {
	listener *Listener
	bind     listen.Bind
	old      *bound // nil if they are to be opened
}

// access says who may connect to a unix socket.
func (w want) access() *listen.Access { return cmp.Or(w.bind.Access, w.listener.Access) }

// bindKey is what makes two binds the same address. Sockets with other options are other sockets:
// the kernel would change some of them only for clients that are accepted later, and others not at
// all. The backlog can be changed at any time.
func bindKey(b listen.Bind) listen.Bind {
	b.Place, b.Access, b.Options.Backlog = "", nil, 0
	if b.IsUnix() {
		return b
	}
	ip := b.Addr.Addr().Unmap()
	if !ip.IsValid() {
		ip = netip.IPv6Unspecified()
	}
	b.Addr = netip.AddrPortFrom(ip, b.Addr.Port())
	return b
}

// wants lists the addresses of a State. It gives each the sockets of old that are bound to it: if
// possible those of the same listener, else those of another one.
func wants(state *State, old []*bound) []want {
	var all []want
	for _, l := range state.Listeners {
		for _, bind := range l.Binds {
			all = append(all, want{listener: l, bind: bind})
		}
	}
	used := make(map[*bound]bool)
	assign := func(key func(*bound) listen.Bind, sameListener bool) {
		free := make(map[listen.Bind][]*bound)
		for _, b := range old {
			if !used[b] {
				free[key(b)] = append(free[key(b)], b)
			}
		}
		for i := range all {
			w := &all[i]
			of := free[bindKey(w.bind)]
			at := slices.IndexFunc(of, func(b *bound) bool {
				return !used[b] && (!sameListener || b.listener.Name == w.listener.Name)
			})
			if w.old == nil && at >= 0 {
				w.old = of[at]
				used[w.old] = true
			}
		}
	}
	configured := func(b *bound) listen.Bind { return bindKey(b.bind) }
	assign(configured, true)
	assign(configured, false)
	// A port that was 0 and is now the port which the kernel chose then.
	assign(func(b *bound) listen.Bind { return bindKey(b.Bind) }, false)
	return all
}

// prepare does all that can fail: it opens what is missing and changes the access to unix sockets.
// If it fails, it undoes that.
func (c *change) prepare(state *State, inherited func(string, listen.Bind) []int) (err error) {
	defer func() {
		if err != nil {
			c.rollBack()
		}
	}()
	s := c.server
	c.keep = make(map[*bound]want)
	all := wants(state, slices.DeleteFunc(slices.Clone(s.bound), (*bound).lost))
	opener := listen.Opener{Shards: len(s.workers), Flags: s.workers[0].loop.SocketFlags(), Prepare: s.prepare}
	var binds []listen.Bind
	for _, w := range all {
		binds = append(binds, w.bind)
	}
	opener.IPv4 = listen.IPv4Ports(binds)
	for _, b := range s.bound {
		opener.Own = append(opener.Own, b.Bind)
	}
	for i := 0; i < len(all); i++ { // all may grow
		w := all[i]
		b := w.old
		if b == nil {
			if b, err = c.open(&opener, w, inherited); err != nil {
				return w.blame(err)
			}
		} else {
			c.keep[b] = w
			if err = c.changeAccess(b, w.access()); err != nil {
				return w.blame(err)
			}
		}
		c.bound = append(c.bound, b)
		if b.IPv6Only && w.bind.Options.V6Only == listen.V6Auto && !opener.IPv4.Has(b.Bind) {
			all = append(all, c.forIPv4(all, w, b))
		}
	}
	return nil
}

// blame says which listener an error is about, and where the configuration names the address.
func (w want) blame(err error) error {
	err = fmt.Errorf("listener %s: %w", w.listener.Name, err)
	if w.bind.Place != "" {
		err = fmt.Errorf("%s: %w", w.bind.Place, err)
	}
	return err
}

// open opens the sockets of an address, or takes those that were inherited.
func (c *change) open(opener *listen.Opener, w want, inherited func(string, listen.Bind) []int) (*bound, error) {
	var fds []int
	if inherited != nil {
		fds = inherited(w.listener.Name, w.bind)
	}
	sockets, err := opener.Open(w.bind, w.access(), fds...)
	if err != nil {
		return nil, err
	}
	b := &bound{listener: w.listener, bind: w.bind, access: w.access(), inherited: len(fds) > 0, Sockets: sockets}
	b.keepFile = b.inherited && c.server.keepFile != nil && c.server.keepFile(w.listener.Name, w.bind)
	c.opened = append(c.opened, b)
	if b.inherited && !b.keepFile {
		if _, err := sockets.SetAccess(nil, b.access); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// lost reports whether an address has to be opened again: a unix socket without its file. The file
// of another program is left to that program.
func (b *bound) lost() bool { return !b.keepFile && b.Lost() }

func (c *change) changeAccess(b *bound, access *listen.Access) error {
	old := b.access
	if !b.bind.IsUnix() || b.keepFile || old == access || old != nil && access != nil && *old == *access {
		return nil
	}
	undo, err := b.SetAccess(old, access)
	if err == nil {
		c.undo = append(c.undo, undo)
	}
	return err
}

// forIPv4 is the address 0.0.0.0 that a bind to [::] needs besides b, whose sockets are for IPv6
// only: when they were opened, another bind had 0.0.0.0. That can no longer be changed
// (IPV6_V6ONLY, ipv6(7)). If the sockets of 0.0.0.0 are still open, they carry on.
func (c *change) forIPv4(all []want, w want, b *bound) want {
	w.old = nil
	w.bind.Addr = netip.AddrPortFrom(netip.IPv4Unspecified(), b.Bind.Addr.Port())
	for _, old := range c.server.bound {
		if bindKey(old.Bind) == bindKey(w.bind) && !slices.ContainsFunc(all, func(other want) bool { return other.old == old }) {
			w.old = old
		}
	}
	return w
}

// rollBack closes what was opened and restores the files. The file of an inherited socket stays:
// the process that has opened it may still use it.
func (c *change) rollBack() {
	for _, b := range c.opened {
		if !b.inherited {
			b.Unlink()
		}
		b.Close()
	}
	for _, undo := range slices.Backward(c.undo) {
		undo()
	}
}

// prepare sets the options that accepted sockets inherit from their listening socket.
func (s *Server) prepare(fd int) {
	rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	keepUrgentInLine(fd)
	s.keepAlive.Set(fd)
}

// keepUrgentInLine keeps the urgent byte in the stream (SO_OOBINLINE, socket(7)). Without it, a
// receive skips that byte, and it is lost. The other side gets it as an ordinary byte.
func keepUrgentInLine(fd int) { rawsys.SetInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) }

// unlinkAll removes the files of the unix sockets. From then on, no State can follow.
func (s *Server) unlinkAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unlinked {
		return
	}
	s.unlinked = true
	for _, b := range s.bound {
		b.unlink()
	}
}

// setBacklog gives a listening socket another backlog. listen(2) on a socket that listens changes
// nothing else.
func (s *listenSocket) setBacklog(queue int) {
	s.backlog = queue
	if listens, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && listens != 0 {
		rawsys.Listen(s.fd, queue)
	}
}
