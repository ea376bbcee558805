package listen

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
)

// open opens sockets that the test closes.
func open(t *testing.T, o *Opener, bind Bind, access *Access, inherited ...int) *Sockets {
	t.Helper()
	s, err := o.Open(bind, access, inherited...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func tcp(address string) Bind { return Bind{Addr: netip.MustParseAddrPort(address)} }

// Each shard has one socket on the same port, and all get clients.
func TestShards(t *testing.T) {
	testnet.SameFiles(t)
	prepared := 0
	o := &Opener{Shards: 3, Flags: unix.SOCK_NONBLOCK, Prepare: func(int) { prepared++ }}
	s := open(t, o, tcp("127.0.0.1:0"), nil)
	if prepared < o.Shards {
		t.Errorf("%d sockets were prepared, want %d at least", prepared, o.Shards)
	}
	const clients = 60
	for range clients {
		testnet.Dial(t, "tcp", s.Bind.Addr.String())
	}
	accepted := 0
	for shard := range o.Shards {
		fds := s.Take(shard)
		if len(fds) != 1 {
			t.Fatalf("shard %d has the sockets %v, want one", shard, fds)
		}
		n := acceptAll(t, fds[0])
		if n == 0 {
			t.Errorf("shard %d has no clients", shard)
		}
		accepted += n
		if again := s.Take(shard); len(again) != 0 {
			t.Errorf("shard %d has %v still after they were taken", shard, again)
		}
		rawsys.Close(fds[0])
	}
	if accepted != clients {
		t.Errorf("%d clients were accepted, want %d", accepted, clients)
	}
}

// acceptAll accepts what waits on a non-blocking socket, and returns how many that were.
func acceptAll(t *testing.T, fd int) (n int) {
	t.Helper()
	for {
		conn, _, errno := rawsys.Accept(fd, 0)
		if errno == unix.EAGAIN {
			return n
		}
		if errno != 0 {
			t.Fatal(errno)
		}
		rawsys.Close(conn)
		n++
	}
}

// SO_REUSEPORT must not let another opener of the same user share a port unnoticed.
func TestInUse(t *testing.T) {
	s := open(t, &Opener{Shards: 2}, tcp("127.0.0.1:0"), nil)
	testnet.SameFiles(t)
	_, err := (&Opener{Shards: 2}).Open(s.Bind, nil)
	if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), s.Bind.Addr.String()) {
		t.Errorf("a second opener: %v", err)
	}
}

// 0.0.0.0 and [::] can be listened on side by side, and each gets its own family.
func TestBothFamilies(t *testing.T) {
	testnet.SameFiles(t)
	four := open(t, &Opener{Shards: 1, Flags: unix.SOCK_NONBLOCK}, tcp("0.0.0.0:0"), nil)
	_, port, _ := net.SplitHostPort(four.Bind.Addr.String())
	both := []Bind{four.Bind, tcp("[::]:" + port)}
	six := open(t, &Opener{Shards: 1, Flags: unix.SOCK_NONBLOCK, IPv4: IPv4Ports(both)}, both[1], nil)
	testnet.Dial(t, "tcp", "127.0.0.1:"+port)
	testnet.Dial(t, "tcp", "[::1]:"+port)
	for _, s := range []*Sockets{four, six} {
		fd := s.Take(0)[0]
		if n := acceptAll(t, fd); n != 1 {
			t.Errorf("%s has %d clients, want 1", s.Bind, n)
		}
		rawsys.Close(fd)
	}
}

// A host that is not given is every address, of both families.
func TestEverywhere(t *testing.T) {
	testnet.SameFiles(t)
	s := open(t, &Opener{Shards: 1, Flags: unix.SOCK_NONBLOCK}, Bind{}, nil)
	_, port, _ := net.SplitHostPort(s.Bind.Addr.String())
	testnet.Dial(t, "tcp", "127.0.0.1:"+port)
	testnet.Dial(t, "tcp", "[::1]:"+port)
	fd := s.Take(0)[0]
	if n := acceptAll(t, fd); n != 2 {
		t.Errorf("%d clients, want 2", n)
	}
	rawsys.Close(fd)
}
