package chaos

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// patience is how long nothing may move on a connection. Without a proxy, no connection lasts a
// second.
const patience = 10 * time.Second

// slot carries one connection at a time. It has its own backends and the addresses that lead to
// them, so everything that arrives at a backend, and every record that names the slot, belongs to
// the current connection.
type slot struct {
	name     string
	backends [families]net.Listener
	fronts   [families][families]string // through a proxy: by the family of the backend, then of the client
	records  chan proxy.Record          // nil when nothing is recorded
	patience time.Duration
}

func newSlot(t *testing.T, name string) *slot {
	t.Helper()
	s := &slot{name: name, records: make(chan proxy.Record, 16), patience: patience}
	dir := socketDir(t)
	for f := range families {
		config := net.ListenConfig{Control: inline}
		config.SetMultipathTCP(false)
		l, err := config.Listen(context.Background(), f.network(), f.address(filepath.Join(dir, name+".b")))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		s.backends[f] = l
	}
	return s
}

// address returns an address to listen on; for IPv4, one that other tests do not use.
func (f family) address(path string) string {
	switch {
	case f == local:
		return path
	case f == tcp6 && hasIPv6():
		return "[::1]:0"
	}
	return "127.88.0.1:0"
}

// hasIPv6 reports whether the machine has IPv6. If not, IPv4 is used instead.
var hasIPv6 = sync.OnceValue(func() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err == nil {
		l.Close()
	}
	return err == nil
})

// socketDir returns a directory whose path is short enough for sun_path.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// keepInLine keeps urgent bytes in the stream.
func keepInLine(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) })
}

// inline does so before a TCP socket listens. Accepted sockets inherit it.
func inline(_, _ string, raw syscall.RawConn) error {
	keepInLine(raw)
	return nil
}

// dial connects a client. Unlike package net, it returns a connection that was reset immediately,
// so that bytes from before the reset can be read.
func dial(f family, address string) (net.Conn, error) {
	var to unix.Sockaddr
	domain := unix.AF_UNIX
	if f == local {
		to = &unix.SockaddrUnix{Name: address}
	} else if at := netip.MustParseAddrPort(address); at.Addr().Is4() {
		domain, to = unix.AF_INET, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
	} else {
		domain, to = unix.AF_INET6, &unix.SockaddrInet6{Addr: at.Addr().As16(), Port: int(at.Port())}
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), address)
	defer file.Close() // FileConn has a copy
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
	if f != local {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err := unix.Connect(fd, to); err == unix.EINPROGRESS {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(patience/time.Millisecond)); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return net.FileConn(file)
}

// played is the result of a script.
type played struct {
	sides  [2]seen
	hung   bool
	record *proxy.Record // nil without one
	more   int           // further records
}

// direct plays a script without a proxy, on sockets of the backend's family.
func (s *slot) direct(script *script, number uint64) (played, [2]family) {
	f := script.families[server]
	if f == local {
		f = script.families[client]
	}
	p := s.play(script, number, f, s.backends[f].Addr().String(), f, false)
	return p, [2]family{f, f}
}

// through plays a script through a proxy.
func (s *slot) through(script *script, number uint64) played {
	front, back := script.families[client], script.families[server]
	return s.play(script, number, front, s.fronts[back][front], back, s.records != nil)
}

// play plays a script. The number is unique to this run, and makes its bytes differ from those of
// all others.
func (s *slot) play(script *script, number uint64, front family, address string, back family, recorded bool) played {
	var p played
	var moved atomic.Int64
	var both sync.WaitGroup
	done := make(chan struct{})
	listener := s.backends[back].(interface{ SetDeadline(time.Time) error })
	_ = listener.SetDeadline(time.Now().Add(s.patience))

	var mu sync.Mutex
	var sides [2]*side
	part := func(who int, conn net.Conn, err error) {
		if err != nil {
			p.sides[who].absent = true
			return
		}
		in, out := testnet.Stream(2*number+uint64(1-who)), testnet.Stream(2*number+uint64(who))
		side, err := newSide(conn.(testnet.Conn), &script.parts[who], in, out, &moved)
		if err != nil {
			p.sides[who] = seen{in: endFailed, failure: err.Error()}
			return
		}
		mu.Lock()
		sides[who] = side
		mu.Unlock()
		side.run()
	}
	both.Go(func() {
		conn, err := dial(front, address)
		part(client, conn, err)
	})
	both.Go(func() {
		conn, err := s.backends[back].Accept()
		part(server, conn, err)
	})
	go func() {
		both.Wait()
		close(done)
	}()
	if !s.watch(&moved, done, func() {
		mu.Lock()
		defer mu.Unlock()
		if recorded && script.mayBeAbsent() && sides[server] == nil && p.record == nil {
			if p.record = s.recordNow(); p.record != nil { // it ended before it reached the backend
				_ = listener.SetDeadline(time.Now().Add(100 * time.Millisecond))
			}
		}
	}) {
		p.hung = true
		mu.Lock()
		for _, side := range sides {
			if side != nil {
				side.abandon()
			}
		}
		mu.Unlock()
		<-done
	}
	for who, side := range sides {
		if side != nil {
			p.sides[who] = side.seen
		}
	}
	if recorded {
		s.takeRecords(&p)
	}
	return p
}

// watch waits until done. It returns false if nothing moves for too long.
func (s *slot) watch(moved *atomic.Int64, done <-chan struct{}, look func()) bool {
	ticker := time.NewTicker(min(s.patience/10, 50*time.Millisecond))
	defer ticker.Stop()
	last, since := int64(-1), time.Now()
	for {
		select {
		case <-done:
			return true
		case now := <-ticker.C:
			look()
			if n := moved.Load(); n != last {
				last, since = n, now
			} else if now.Sub(since) > s.patience {
				return false
			}
		}
	}
}

func (s *slot) recordNow() *proxy.Record {
	select {
	case r := <-s.records:
		return &r
	default:
		return nil
	}
}

// takeRecords waits for the record of a connection whose sides have ended.
func (s *slot) takeRecords(p *played) {
	if p.record == nil {
		limit := s.patience
		if p.hung || p.sides[server].absent { // do not wait longer
			limit = time.Second
		}
		select {
		case r := <-s.records:
			p.record = &r
		case <-time.After(limit):
		}
	}
	for s.recordNow() != nil {
		p.more++
	}
}

// leftovers returns the number of connections to a backend that no client has made.
func (s *slot) leftovers() (n int) {
	for _, l := range s.backends {
		_ = l.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(time.Millisecond))
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			c.Close()
			n++
		}
	}
	return n
}
