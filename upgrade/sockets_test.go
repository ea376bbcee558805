package upgrade

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
)

// opened opens the sockets of an address, and says that the old process has handed them over.
func opened(t *testing.T, s *Sockets, name string, bind listen.Bind, shards int) listen.Bind {
	t.Helper()
	opener := listen.Opener{Shards: shards}
	own, err := opener.Open(bind, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range shards {
		for _, fd := range own.Take(i) {
			s.all = append(s.all, Socket{Kind: KindListener, Name: name, Bind: own.Bind.String(), FD: fd, KeepFile: bind.IsUnix()})
		}
	}
	return own.Bind
}

func loopback(port uint16) listen.Bind {
	return listen.Bind{Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}
}

// TestSocketsAreFound: each address gets its own sockets, once.
func TestSocketsAreFound(t *testing.T) {
	s := new(Sockets)
	fixed := opened(t, s, "a", loopback(0), 2)
	opened(t, s, "b", loopback(0), 1)
	file := listen.Bind{Path: filepath.Join(t.TempDir(), "front")}
	opened(t, s, "a", file, 1)
	admin, errno := rawsys.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	s.all = append(s.all, Socket{Kind: KindAdmin, Name: "admin", FD: admin})
	defer func() {
		if left := s.Close(); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	}()
	want := func(what string, got []int, indexes ...int) {
		t.Helper()
		for i, index := range indexes {
			indexes[i] = s.all[index].FD
		}
		if !slices.Equal(got, indexes) {
			t.Errorf("%s: descriptors %v, want %v", what, got, indexes)
		}
		closeAll(got)
	}
	want("another port", s.Listener("a", loopback(1)))
	want("any port of b", s.Listener("b", loopback(0)), 2)
	want("the port, under another name", s.Listener("renamed", fixed), 0, 1)
	want("the port again", s.Listener("a", fixed))
	want("any port of a, which are all taken", s.Listener("a", loopback(0)))
	want("the file", s.Listener("a", file), 3)
	if !s.KeepFile(file) || s.KeepFile(fixed) {
		t.Error("only the file of the unix socket belongs to another program")
	}
	want("the admin socket", s.Named(KindAdmin, "admin"), 4)
}

// TestManySocketsAreFoundAtOnce: clients wait while the sockets are looked up, so the time must not
// grow with the square of their number.
func TestManySocketsAreFoundAtOnce(t *testing.T) {
	const listeners = 1500
	s := new(Sockets)
	var binds []listen.Bind
	for i := range listeners {
		binds = append(binds, opened(t, s, fmt.Sprint(i), loopback(0), 2))
	}
	began := time.Now()
	for i, bind := range binds {
		fds := s.Listener(fmt.Sprint(i), bind)
		if len(fds) != 2 {
			t.Fatalf("listener %d gets %d sockets, want 2", i, len(fds))
		}
		closeAll(fds)
	}
	if took := time.Since(began); took > testnet.Patience/10 {
		t.Errorf("it took %v", took)
	}
}
