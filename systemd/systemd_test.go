package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
)

// notifySocket is what a service manager listens on.
type notifySocket struct {
	t    *testing.T
	conn *net.UnixConn
}

func newNotifySocket(t *testing.T) *notifySocket {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &notifySocket{t, conn}
}

// next returns the next notification and its descriptors, which are closed at the end of the test.
func (s *notifySocket) next() (text string, fds []int) {
	s.t.Helper()
	_ = s.conn.SetReadDeadline(time.Now().Add(testnet.Patience))
	data, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*maxRights))
	n, oobn, _, _, err := s.conn.ReadMsgUnix(data, oob)
	if err != nil {
		s.t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range messages {
		got, err := unix.ParseUnixRights(&m)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, fd := range got {
			s.t.Cleanup(func() { unix.Close(fd) })
		}
		fds = append(fds, got...)
	}
	return string(data[:n]), fds
}

func (s *notifySocket) expect(want string) {
	s.t.Helper()
	if got, _ := s.next(); got != want {
		s.t.Errorf("notification %q, want %q", got, want)
	}
}

// Without any variable, nothing happens.
func TestNoServiceManager(t *testing.T) {
	m, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Manager{m, nil} {
		if err := m.Notify("READY=1"); err != nil {
			t.Error(err)
		}
		m.Watch(t.Context(), nil, nil, nil)
		if _, err := m.Assign(nil); err != nil {
			t.Error(err)
		}
		if fds := m.Inherited("web", listen.Bind{}); len(fds)+len(m.Environ()) > 0 || m.Notifies() {
			t.Errorf("sockets %v, variables %v", fds, m.Environ())
		}
	}
}

// All variables are removed. Those that a successor needs are kept for it.
func TestTakeRemovesTheVariables(t *testing.T) {
	newNotifySocket(t)
	t.Setenv("WATCHDOG_USEC", "1000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "7") // not for this process
	t.Setenv("LISTEN_FDNAMES", "a:b")
	path := os.Getenv("NOTIFY_SOCKET")
	m, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range os.Environ() {
		for _, prefix := range []string{"NOTIFY_", "WATCHDOG_", "LISTEN_"} {
			if strings.HasPrefix(line, prefix) {
				t.Errorf("%s is still set", line)
			}
		}
	}
	if want := []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=1000000"}; !slices.Equal(m.Environ(), want) {
		t.Errorf("for the successor: %q, want %q", m.Environ(), want)
	}
	if len(m.sockets) > 0 {
		t.Error("took sockets of another process")
	}
}

func TestTakeRefusesBadVariables(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"LISTEN_FDS", "three", "LISTEN_FDS=three is not a number of sockets"},
		{"LISTEN_FDS", "-1", "LISTEN_FDS=-1 is not a number of sockets"},
		{"LISTEN_FDS", "1000000", "descriptor"},
		{"NOTIFY_SOCKET", "relative", "NOTIFY_SOCKET=relative is not the path of a unix socket"},
		{"WATCHDOG_USEC", "soon", "WATCHDOG_USEC=soon is not a number of microseconds"},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			newNotifySocket(t)
			t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
			t.Setenv("LISTEN_FDS", "0")
			t.Setenv(tt.name, tt.value)
			if _, err := take(os.Getpid(), 1<<20); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error = %v, want %s...", err, tt.want)
			}
		})
	}
}

func TestNotifications(t *testing.T) {
	s := newNotifySocket(t)
	m, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(m.Notify("READY=1", "STATUS=Serving"))
	s.expect("READY=1\nSTATUS=Serving")
	var before, now unix.Timespec
	check(unix.ClockGettime(unix.CLOCK_MONOTONIC, &before))
	check(m.Reloading())
	check(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	text, _ := s.next()
	var usec int64
	if n, _ := fmt.Sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%d", &usec); n != 1 || usec < before.Nano()/1000 || usec > now.Nano()/1000 {
		t.Errorf("notification %q", text)
	}
	check(m.MainPID(7))
	s.expect("MAINPID=7")
	check(m.Unstore("web"))
	s.expect("FDSTOREREMOVE=1\nFDNAME=stored.web")
	s.conn.Close()
	if err := m.Notify("READY=1"); err == nil || !strings.HasPrefix(err.Error(), "cannot notify systemd of READY=1: ") {
		t.Errorf("error = %v", err)
	}
}

// A signal interrupts a notification while the service manager is busy. It is sent again: with a
// timeout, the kernel does not restart sendmsg(2) by itself (signal(7)).
func TestInterruptedNotification(t *testing.T) {
	s := newNotifySocket(t)
	m, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for err == nil { // until the queue is full
		err = unix.Sendto(fd, []byte("full"), 0, &unix.SockaddrUnix{Name: m.notify})
	}
	sent := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		sent <- m.Notify("READY=1")
	}()
	until := time.Now().Add(50 * time.Millisecond)
	for time.Now().Before(until) {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			tid, _ := strconv.Atoi(thread.Name())
			_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG) // the thread may have ended
		}
	}
	select {
	case err := <-sent:
		t.Fatalf("the notification ended while the queue was full: %v", err)
	default:
	}
	for {
		if text, _ := s.next(); text == "READY=1" {
			break
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// More sockets than fit into one message are stored with several.
func TestStoreManySockets(t *testing.T) {
	s := newNotifySocket(t)
	m, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	fds := slices.Repeat([]int{int(os.Stdin.Fd())}, maxRights+3)
	stored := make(chan error, 1)
	go func() { stored <- m.Store("web", fds) }()
	for _, want := range []int{maxRights, 3} {
		text, got := s.next()
		if text != "FDSTORE=1\nFDNAME=stored.web\nFDPOLL=0" || len(got) != want {
			t.Errorf("notification %q with %d descriptors, want %d", text, len(got), want)
		}
	}
	if err := <-stored; err != nil {
		t.Error(err)
	}
}

// Names of listeners have characters that systemd refuses in the names of descriptors: it takes
// printable ASCII without colons, and at most 255 bytes (fdname_is_valid).
func TestStoredNames(t *testing.T) {
	for _, listener := range []string{"web", "web-1.example_x", "web:80", "wëb", "100%25", "a+b", "\xff", strings.Repeat("ü", 32)} {
		name := storedName(listener)
		if len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' || r == ':' }) {
			t.Errorf("%q is stored as %q", listener, name)
		}
		var s socket
		if s.setName(name); !s.stored || s.name != listener {
			t.Errorf("%q is stored as %q, which is read as %q", listener, name, s.name)
		}
	}
	if storedName("web") != "stored.web" {
		t.Error("an older l4proxy stores it under another name")
	}
	var s socket
	if s.setName("a%2Bb"); s.stored || s.name != "a%2Bb" {
		t.Errorf("the name of a socket unit is read as %q", s.name)
	}
}

// The watchdog gets signs of life only while all loops answer.
func TestWatch(t *testing.T) {
	s := newNotifySocket(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	m, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	stuck := make(chan int, 1)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		m.Watch(ctx, func(look context.Context) bool {
			if looks++; looks <= 3 {
				return true
			}
			<-look.Done() // a loop that hangs
			return false
		}, func() {
			select {
			case stuck <- looks:
			default:
			}
		}, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}()
	for range 3 {
		s.expect("WATCHDOG=1")
	}
	if n := <-stuck; n != 4 {
		t.Errorf("stuck after %d looks, want 4", n)
	}
	cancel()
	<-watched
	_ = s.conn.SetReadDeadline(time.Now())
	if n, err := s.conn.Read(make([]byte, 64)); err == nil {
		t.Errorf("another notification of %d bytes", n)
	}
}

// A sign of life that could not be sent is followed by others: the watchdog must not end a process
// because systemd was busy for a moment.
func TestWatchContinuesAfterAFailure(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "20000")
	s := newNotifySocket(t)
	m, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	path := m.notify
	if err := os.Rename(path, path+".gone"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(watched)
		m.Watch(ctx, func(context.Context) bool { return true }, func() { t.Error("stuck") }, func(err error) {
			select {
			case failed <- err:
			default:
			}
		})
	}()
	if err := <-failed; !errors.Is(err, unix.ENOENT) {
		t.Errorf("error = %v", err)
	}
	if err := os.Rename(path+".gone", path); err != nil {
		t.Fatal(err)
	}
	s.expect("WATCHDOG=1")
	cancel()
	<-watched
}

// passed is a listening socket that the service manager has passed, under a name.
func passed(t *testing.T, name, network, address string) *socket {
	t.Helper()
	var file interface{ File() (*os.File, error) }
	switch network {
	case "udp":
		c, err := net.ListenPacket(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		file = c.(*net.UDPConn)
	default:
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		defer l.Close()
		file = l.(interface{ File() (*os.File, error) })
	}
	f, err := file.File()
	if err != nil {
		t.Fatal(err)
	}
	return passedFile(t, name, f)
}

func passedFile(t *testing.T, name string, f *os.File) *socket {
	t.Helper()
	fd, err := unix.Dup(int(f.Fd()))
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	s := &socket{fd: fd}
	s.setName(name)
	if err := s.look(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return s
}

func tcp(address string) listen.Bind { return listen.Bind{Addr: netip.MustParseAddrPort(address)} }

// bindOf is the address of a socket.
func bindOf(t *testing.T, s *socket) listen.Bind {
	t.Helper()
	at, _, err := listen.IsAt(s.fd, listen.Bind{})
	if err != nil {
		t.Fatal(err)
	}
	return tcp(at)
}

// Sockets belong to the listener of their name, or else of their address.
func TestAssign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "front")
	named, unnamed := passed(t, "b", "tcp", "127.0.0.1:0"), passed(t, "l4proxy.socket", "tcp", "127.0.0.1:0")
	file, stored := passed(t, "files", "unix", path), passed(t, "stored.a", "tcp", "127.0.0.1:0")
	late := passed(t, "stored.gone", "tcp", "127.0.0.1:0")
	m := &Manager{sockets: []*socket{late, stored, named, unnamed, file}}
	unnamedAt := bindOf(t, unnamed)
	unnamedAt.Place = "config.yaml:3:4"
	a := Listener{"a", []listen.Bind{tcp("127.0.0.1:0"), {Path: path}}}
	b := Listener{"b", []listen.Bind{unnamedAt, tcp("127.0.0.1:0")}}
	dropped, err := m.Assign([]Listener{a, b})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(dropped, []string{"gone"}) {
		t.Errorf("dropped %v", dropped)
	}
	for _, tt := range []struct {
		listener string
		bind     listen.Bind
		want     *socket
		fromUnit bool
	}{
		{"a", a.Binds[0], stored, false}, {"a", a.Binds[1], file, true}, {"b", b.Binds[0], unnamed, true}, {"b", b.Binds[1], named, true},
	} {
		if got := m.Inherited(tt.listener, tt.bind); !slices.Equal(got, []int{tt.want.fd}) {
			t.Errorf("%s %s gets %v, want %d", tt.listener, tt.bind, got, tt.want.fd)
		}
		if got := m.FromUnit(tt.listener, tt.bind); got != tt.fromUnit {
			t.Errorf("%s %s: from a socket unit = %v", tt.listener, tt.bind, got)
		}
	}
	if got := m.Inherited("b", a.Binds[0]); !slices.Equal(got, []int{named.fd}) {
		t.Errorf("b gets %v", got)
	}
}

// A socket that comes from a socket unit and from the store is used once.
func TestAssignTheSameSocketTwice(t *testing.T) {
	unit := passed(t, "web", "tcp", "127.0.0.1:0")
	fd, err := unix.Dup(unit.fd)
	if err != nil {
		t.Fatal(err)
	}
	stored := passedFile(t, "stored.web", os.NewFile(uintptr(fd), ""))
	m := &Manager{sockets: []*socket{stored, unit}}
	if _, err := m.Assign([]Listener{{"web", []listen.Bind{bindOf(t, unit)}}}); err != nil {
		t.Fatal(err)
	}
	if got := m.Inherited("web", bindOf(t, unit)); !slices.Equal(got, []int{unit.fd}) {
		t.Errorf("sockets %v, want %d", got, unit.fd)
	}
}

// A stored socket that was closed for new clients listens again. One whose file is gone is dropped.
func TestAssignStored(t *testing.T) {
	chosen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	chosen.Close() // a socket loses a port that the kernel chose when it stops listening
	shut := passed(t, "stored.shut", "tcp", chosen.Addr().String())
	at := bindOf(t, shut)
	if err := unix.Shutdown(shut.fd, unix.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	if err := shut.look(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "front")
	gone := passed(t, "stored.gone", "unix", path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	m := &Manager{sockets: []*socket{shut, gone}}
	dropped, err := m.Assign([]Listener{{"shut", []listen.Bind{at}}, {"gone", []listen.Bind{{Path: path}}}})
	if err != nil || !slices.Equal(dropped, []string{"gone"}) {
		t.Errorf("dropped %v, %v", dropped, err)
	}
	testnet.Dial(t, "tcp", at.String())
}

func TestAssignRefuses(t *testing.T) {
	pipe, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	left := passed(t, "left", "tcp", "127.0.0.1:0")
	web := passed(t, "web", "tcp", "127.0.0.1:0")
	for name, tt := range map[string]struct {
		socket *socket
		want   string
	}{
		"no socket":       {passedFile(t, "web", pipe), "(web) from systemd is not a socket: write ListenStream= and Accept=no in the socket unit"},
		"datagrams":       {passed(t, "web", "udp", "127.0.0.1:0"), "(web) from systemd is not a stream socket: write ListenStream="},
		"no listener":     {left, fmt.Sprintf("(left) from systemd listens on %s, but no listener has that bind: add it", bindOf(t, left))},
		"another address": {web, fmt.Sprintf("(web) from systemd listens on %s, but listener web has no such bind: write", bindOf(t, web))},
	} {
		t.Run(name, func(t *testing.T) {
			m := &Manager{sockets: []*socket{tt.socket}}
			_, err := m.Assign([]Listener{{"web", []listen.Bind{tcp("127.0.0.1:1")}}, {"left over", nil}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v\nwant ...%s", err, tt.want)
			}
		})
	}
}
