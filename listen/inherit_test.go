package listen

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
)

const successorEnv = "LISTEN_TEST_SUCCESSOR"

func TestMain(m *testing.M) {
	if spec := os.Getenv(successorEnv); spec != "" {
		if err := succeed(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// succeed is the process that inherits the descriptors 3 and following. It answers one client.
func succeed(spec string) error {
	var bind Bind
	var n int
	var address string
	if _, err := fmt.Sscan(spec, &address, &n); err != nil {
		return err
	}
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		bind.Path = path
	} else {
		bind = tcp(address)
	}
	var inherited []int
	for i := range n {
		inherited = append(inherited, 3+i)
	}
	s, err := (&Opener{Shards: 1}).Open(bind, nil, inherited...)
	if err != nil {
		return err
	}
	fmt.Println(s.Bind.String())
	conn, _, errno := rawsys.Accept(s.Take(0)[0], 0)
	if errno != 0 {
		return fmt.Errorf("accept: %w", errno)
	}
	_, errno = rawsys.Send(conn, []byte("successor"), 0)
	rawsys.Close(conn)
	if errno != 0 {
		return fmt.Errorf("send: %w", errno)
	}
	return nil
}

// A client in the queue of a socket is answered by another process that has inherited the socket,
// after this one has closed it.
func TestSuccessorAnswersWaitingClient(t *testing.T) {
	for _, bind := range []Bind{tcp("127.0.0.1:0"), tcp("[::1]:0"), {Path: "socket"}} {
		t.Run(bind.String(), func(t *testing.T) {
			network := "tcp"
			if bind.IsUnix() {
				network, bind.Path = "unix", filepath.Join(t.TempDir(), bind.Path)
			}
			s := open(t, &Opener{Shards: 1, Flags: unix.SOCK_NONBLOCK}, bind, nil)
			client := testnet.Dial(t, network, strings.TrimPrefix(s.Bind.String(), "unix:"))
			child := exec.Command("/proc/self/exe")
			child.Env = append(os.Environ(), fmt.Sprintf("%s=%s 1", successorEnv, s.Bind))
			child.ExtraFiles = []*os.File{os.NewFile(uintptr(s.Take(0)[0]), "listener")}
			child.Stderr = os.Stderr
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			child.ExtraFiles[0].Close()
			got, err := io.ReadAll(client)
			if string(got) != "successor" {
				t.Errorf("the client received %q, %v", got, err)
			}
			address, err := io.ReadAll(out)
			if err != nil || strings.TrimSpace(string(address)) != s.Bind.String() {
				t.Errorf("the successor listens on %q, want %s, %v", address, s.Bind.String(), err)
			}
			if err := child.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// More shards than inherited sockets get new ones, fewer get several each. No socket is closed.
func TestOtherNumberOfShards(t *testing.T) {
	testnet.SameFiles(t)
	for _, c := range []struct {
		before, after int
		want          []int
	}{
		{1, 1, []int{1}},
		{1, 3, []int{1, 1, 1}},
		{3, 1, []int{3}},
		{3, 2, []int{2, 1}},
	} {
		old := open(t, &Opener{Shards: c.before}, tcp("127.0.0.1:0"), nil)
		var inherited []int
		for shard := range c.before {
			inherited = append(inherited, old.Take(shard)...)
		}
		s := open(t, &Opener{Shards: c.after, Flags: unix.SOCK_NONBLOCK}, tcp("127.0.0.1:0"), nil, inherited...)
		if s.Bind.String() != old.Bind.String() {
			t.Errorf("%d to %d shards: the address is %s, want %s", c.before, c.after, s.Bind.String(), old.Bind.String())
		}
		for shard, want := range c.want {
			fds := s.Take(shard)
			if len(fds) != want {
				t.Errorf("%d to %d shards: shard %d has %d sockets, want %d", c.before, c.after, shard, len(fds), want)
			}
			for _, fd := range fds {
				if n := acceptAll(t, fd); n != 0 {
					t.Errorf("%d clients", n)
				}
				rawsys.Close(fd)
			}
		}
	}
}

// A socket of another program, without SO_REUSEPORT, gets company too.
func TestForeignSocketIsShared(t *testing.T) {
	testnet.SameFiles(t)
	foreign, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	file, err := foreign.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, &Opener{Shards: 3, Flags: unix.SOCK_NONBLOCK}, tcp(foreign.Addr().String()), nil, fd)
	for shard := range 3 {
		fds := s.Take(shard)
		if len(fds) != 1 {
			t.Errorf("shard %d has %d sockets, want 1", shard, len(fds))
		}
		for _, fd := range fds {
			rawsys.Close(fd)
		}
	}
}

func TestNotToBeInherited(t *testing.T) {
	listening := open(t, &Opener{Shards: 1}, tcp("127.0.0.1:0"), nil)
	fd := listening.Take(0)[0]
	idle, errno := rawsys.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer rawsys.Close(idle)
	defer rawsys.Close(fd)
	for _, c := range []struct {
		fd   int
		bind Bind
		want string
	}{
		{fd, tcp("127.0.0.1:1"), "the socket listens on " + listening.Bind.String()},
		{fd, tcp("127.0.0.2:0"), "the socket listens on " + listening.Bind.String()},
		{fd, Bind{Path: "/run/x"}, "the socket listens on " + listening.Bind.String()},
		{idle, tcp("127.0.0.1:0"), "the socket does not listen"},
		{99999, tcp("127.0.0.1:0"), "bad file descriptor"},
	} {
		_, err := (&Opener{Shards: 1}).Open(c.bind, nil, c.fd)
		if want := fmt.Sprintf("inherited descriptor %d: %s", c.fd, c.want); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", c.bind, err, want)
		}
	}
}

// TestInheritedSocketTakesNewClients: the process before was about to close the socket, and has
// made the kernel drop SYNs.
func TestInheritedSocketTakesNewClients(t *testing.T) {
	old, err := (&Opener{Shards: 1}).Open(tcp("127.0.0.1:0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	dropAll := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	if err := unix.SetsockoptSockFprog(old.FDs()[0], unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &dropAll}); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(uintptr(old.FDs()[0]), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	next, err := (&Opener{Shards: 1}).Open(old.Bind, nil, fd)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	c, err := net.DialTimeout("tcp", next.Bind.Addr.String(), time.Second/2)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
