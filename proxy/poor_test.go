package proxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/eventloop"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// poorEnv makes this test binary run a proxy instead of tests, in a process that lacks a resource
// or a system call: limits and system call filters apply to a whole process. Its value is a poor as
// JSON.
const poorEnv = "L4PROXY_TEST_POOR"

// poor is what a proxy lacks, and what it works with.
type poor struct {
	Engine  string
	Workers int
	Backend string
	// Call fails with Errno if its arguments (by index) have these values.
	Call  uintptr
	Errno unix.Errno
	Args  map[int]uint32
	// User: run as an ordinary user whose locked memory is enough for one ring, but not for one per
	// worker.
	LockedMemory bool
	// AddressSpace is enough for two rings.
	AddressSpace bool
}

// runPoor runs the proxy until its standard input ends, and returns its exit code. It prints the
// proxy's address and engine, and then its log.
func runPoor(work string) int {
	var p poor
	if err := json.Unmarshal([]byte(work), &p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := p.serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (p *poor) serve() error {
	// This makes the Go runtime open its own descriptors, as it does before any configuration is
	// read.
	<-time.After(1)
	if err := errors.Join(p.lockMemory(), p.limitAddresses(), p.forbid()); err != nil {
		return err
	}
	addr, err := sockaddr(p.Backend)
	if err != nil {
		return err
	}
	members := []balancer.Member{{Backend: &backend.Backend{Address: p.Backend, Sockaddr: addr}, Weight: 1}}
	picks, err := balancer.New(members, balancer.Options{Policy: "least_conn"})
	if err != nil {
		return err
	}
	pool := &proxy.Pool{
		Name: "back", Balancer: picks,
		ConnectTimeout: testnet.Patience, Attempts: 1,
	}
	server, err := proxy.Listen(&proxy.State{Listeners: []*proxy.Listener{{
		Name: "front", Binds: []listen.Bind{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}}, Pool: pool,
	}}}, proxy.Options{Engine: p.Engine, Workers: p.Workers, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	fmt.Println(server.Addrs()[0].Bind.Addr.String(), server.Engine())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.Drain(ctx, testnet.Patience)
		server.Stop()
	}()
	return server.Run(ctx)
}

// lockMemory changes to an ordinary user, and finds a limit of locked memory that allows one ring.
func (p *poor) lockMemory() error {
	if !p.LockedMemory {
		return nil
	}
	if os.Geteuid() == 0 {
		id := 40_000 + os.Getpid()%10_000 // a user of its own: the limit counts all processes of a user
		if err := errors.Join(unix.Setgroups(nil), unix.Setgid(id), unix.Setuid(id)); err != nil {
			return err
		}
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return err
	}
	for limit.Cur = 16 << 10; limit.Cur <= limit.Max; limit.Cur *= 2 {
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
			return err
		}
		if _, _, err := eventloop.Probe(eventloop.IOUring); err == nil {
			limit.Cur = min(2*limit.Cur, limit.Max) // the kernel frees that ring some time later
			return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit)
		}
	}
	return fmt.Errorf("no ring can be made with %d bytes of locked memory", limit.Max)
}

// limitAddresses leaves address space for two rings, but starts more workers than would fit.
func (p *poor) limitAddresses() error {
	if !p.AddressSpace {
		return nil
	}
	const others = 160 << 20 // the Go runtime, threads
	before := addressSpace()
	loop, err := eventloop.New(eventloop.IOUring, nil, nothing{})
	if err != nil {
		return err
	}
	ring := addressSpace() - before
	loop.Discard()
	p.Workers = int(4 + others/ring)
	limit := addressSpace() + 2*ring + others
	return unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: limit, Max: limit})
}

// addressSpace is the size of this process.
func addressSpace() uint64 {
	var pages uint64
	b, _ := os.ReadFile("/proc/self/statm")
	_, _ = fmt.Sscan(string(b), &pages)
	return pages * uint64(os.Getpagesize())
}

// nothing is a handler for a loop that never runs.
type nothing struct{}

func (nothing) Complete(*eventloop.Completion) {}
func (nothing) Expire(uint32)                  {}
func (nothing) Message(any)                    {}
func (nothing) BatchEnd()                      {}

// forbid makes a system call fail from now on, on all threads (seccomp(2),
// SECCOMP_FILTER_FLAG_TSYNC).
func (p *poor) forbid() error {
	if p.Errno == 0 {
		return nil
	}
	// Offsets in struct seccomp_data; of an argument, the lower half on a little-endian machine.
	const syscallNumber, arguments = 0, 16
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	type test struct{ at, value uint32 }
	tests := []test{{syscallNumber, uint32(p.Call)}}
	for i, value := range p.Args {
		tests = append(tests, test{arguments + uint32(8*i), value})
	}
	var filter []unix.SockFilter
	for i, t := range tests {
		otherwise := 2*(len(tests)-i-1) + 1 // to the last one, which allows
		filter = append(filter, load(t.at),
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: t.value, Jf: uint8(otherwise)})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(p.Errno)},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// poorProxy is a child that runs a proxy.
type poorProxy struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.Closer
	log    strings.Builder
	addr   string
	engine string
}

// startPoor starts a child. The child has no address if it could not start.
func startPoor(t *testing.T, p poor) *poorProxy {
	t.Helper()
	work, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	c := &poorProxy{t: t, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), poorEnv+"="+string(work), "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = &c.log
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(2*testnet.Patience, func() { _ = c.cmd.Process.Kill() })
	t.Cleanup(func() { kill.Stop() })
	lines := bufio.NewScanner(stdout)
	if lines.Scan() {
		c.addr, c.engine, _ = strings.Cut(lines.Text(), " ")
	}
	return c
}

// end waits for the child's end.
func (c *poorProxy) end() error {
	c.stdin.Close()
	return c.cmd.Wait()
}

const poorUp, poorDown = testnet.Stream(1), testnet.Stream(2)

// carry sends 4 MB each way at once, and compares every byte.
func (c *poorProxy) carry(b *poorBackend) {
	c.t.Helper()
	conn := testnet.Dial(c.t, "tcp", c.addr)
	if err := exchange4MB(conn, poorUp, poorDown); err != nil {
		c.t.Errorf("client: %v", err)
	}
	conn.Close()
	if err := <-b.over; err != nil {
		c.t.Errorf("backend: %v", err)
	}
}

// exchange4MB sends one stream and expects another.
func exchange4MB(c testnet.Conn, sent, wanted testnet.Stream) error {
	const size = 4 << 20
	failed := make(chan error, 1)
	go func() { failed <- errors.Join(sent.Send(c, size, 64<<10), c.CloseWrite()) }()
	return errors.Join(wanted.CheckExactly(c, size, 64<<10), <-failed)
}

// poorBackend is the backend of a poor proxy, for one connection.
type poorBackend struct {
	*testnet.Backend
	over chan error
}

func servePoor(t *testing.T) *poorBackend {
	b := &poorBackend{over: make(chan error, 1)}
	b.Backend = testnet.Serve(t, "tcp", "", func(c testnet.Conn) { b.over <- exchange4MB(c, poorDown, poorUp) })
	return b
}

// TestSystemCallsForbidden forbids one system call after the other, as a container's seccomp
// profile may do. Either bytes still flow, or startup fails with the reason.
func TestSystemCallsForbidden(t *testing.T) {
	const either = ""
	for name, test := range map[string]struct {
		poor
		engine string // the engines that it matters to
		fails  string // part of the error at startup; "": it starts
	}{
		"splice":                  {poor{Call: unix.SYS_SPLICE}, either, ""},
		"pipe2":                   {poor{Call: unix.SYS_PIPE2}, either, ""},
		"fcntl F_SETPIPE_SZ":      {poor{Call: unix.SYS_FCNTL, Args: map[int]uint32{1: unix.F_SETPIPE_SZ}}, either, ""},
		"fcntl F_SETFL":           {poor{Call: unix.SYS_FCNTL, Args: map[int]uint32{1: unix.F_SETFL}}, either, ""},
		"ioctl":                   {poor{Call: unix.SYS_IOCTL}, either, ""},
		"getsockopt TCP_INFO":     {poor{Call: unix.SYS_GETSOCKOPT, Args: map[int]uint32{1: unix.IPPROTO_TCP, 2: unix.TCP_INFO}}, either, ""},
		"setsockopt TCP_NODELAY":  {poor{Call: unix.SYS_SETSOCKOPT, Args: map[int]uint32{1: unix.IPPROTO_TCP, 2: unix.TCP_NODELAY}}, either, ""},
		"epoll_pwait2":            {poor{Call: unix.SYS_EPOLL_PWAIT2}, either, ""},
		"sched_getattr":           {poor{Call: unix.SYS_SCHED_GETATTR}, either, ""},
		"sched_setattr":           {poor{Call: unix.SYS_SCHED_SETATTR}, either, ""},
		"sched_setaffinity":       {poor{Call: unix.SYS_SCHED_SETAFFINITY}, either, ""},
		"madvise":                 {poor{Call: unix.SYS_MADVISE, Args: map[int]uint32{2: unix.MADV_DONTNEED}}, either, ""},
		"io_uring_setup":          {poor{Call: unix.SYS_IO_URING_SETUP}, eventloop.IOUring, "io_uring is not available"},
		"io_uring_enter":          {poor{Call: unix.SYS_IO_URING_ENTER}, eventloop.IOUring, "io_uring is not available"},
		"io_uring_register":       {poor{Call: unix.SYS_IO_URING_REGISTER}, eventloop.IOUring, "io_uring is not available"},
		"io_uring_setup, auto":    {poor{Call: unix.SYS_IO_URING_SETUP}, eventloop.Auto, ""},
		"io_uring_enter, auto":    {poor{Call: unix.SYS_IO_URING_ENTER}, eventloop.Auto, ""},
		"io_uring_register, auto": {poor{Call: unix.SYS_IO_URING_REGISTER}, eventloop.Auto, ""},
		"accept4":                 {poor{Call: unix.SYS_ACCEPT4}, either, "accept4(2)"},
		"shutdown":                {poor{Call: unix.SYS_SHUTDOWN}, either, "shutdown(2)"},
		"connect":                 {poor{Call: unix.SYS_CONNECT}, eventloop.Epoll, "connect(2)"},
		"recvfrom":                {poor{Call: unix.SYS_RECVFROM}, eventloop.Epoll, "recvfrom(2)"},
		"sendto":                  {poor{Call: unix.SYS_SENDTO}, eventloop.Epoll, "sendto(2)"},
		"socket":                  {poor{Call: unix.SYS_SOCKET}, either, "cannot listen"},
		"listen":                  {poor{Call: unix.SYS_LISTEN}, either, "cannot listen"},
		"eventfd2":                {poor{Call: unix.SYS_EVENTFD2}, either, "eventfd"},
	} {
		engines := []string{test.engine}
		if test.engine == either {
			engines = []string{eventloop.IOUring, eventloop.Epoll}
		}
		for i, engine := range engines {
			t.Run(name+"/"+engine, func(t *testing.T) {
				if _, _, err := eventloop.Probe(engine); err != nil {
					t.Skip(err)
				}
				t.Parallel()
				p := test.poor
				p.Engine, p.Workers, p.Errno = engine, 1, unix.EPERM
				if i > 0 || strings.Contains(name, "auto") {
					p.Errno = unix.ENOSYS
				}
				b := servePoor(t)
				p.Backend = b.Addr
				c := startPoor(t, p)
				if test.fails != "" {
					if err := c.end(); err == nil || !strings.Contains(c.log.String(), test.fails) {
						t.Errorf("it ended with %v, want one that says %q:\n%s", err, test.fails, c.log.String())
					}
					return
				}
				if c.addr == "" {
					t.Fatalf("it does not start: %v\n%s", c.end(), c.log.String())
				}
				c.carry(b)
				if err := c.end(); err != nil {
					t.Errorf("it ended with %v:\n%s", err, c.log.String())
				}
				if engine == eventloop.Auto && (c.engine != eventloop.Epoll || !strings.Contains(c.log.String(), "falling back to epoll")) {
					t.Errorf("engine %s:\n%s", c.engine, c.log.String())
				}
			})
		}
	}
}

// TestRingsForSomeLoops runs more loops than the limits allow rings for. With engine auto, all of
// them use epoll; with io_uring, startup fails.
func TestRingsForSomeLoops(t *testing.T) {
	if _, _, err := eventloop.Probe(eventloop.IOUring); err != nil {
		t.Skip(err)
	}
	for name, p := range map[string]poor{
		"locked memory": {Workers: 64, LockedMemory: true},
		"address space": {AddressSpace: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := servePoor(t)
			p.Engine, p.Backend = eventloop.Auto, b.Addr
			c := startPoor(t, p)
			if c.addr == "" {
				t.Fatalf("it does not start: %v\n%s", c.end(), c.log.String())
			}
			c.carry(b)
			if err := c.end(); err != nil {
				t.Errorf("it ended with %v:\n%s", err, c.log.String())
			}
			if p.LockedMemory && c.engine == eventloop.IOUring {
				t.Skip("this kernel does not count rings as locked memory")
			}
			if n := strings.Count(c.log.String(), "falling back to epoll"); c.engine != eventloop.Epoll || n != 1 {
				t.Errorf("engine %s, %d warnings:\n%s", c.engine, n, c.log.String())
			}
			p.Engine = eventloop.IOUring
			c = startPoor(t, p)
			if err := c.end(); err == nil || c.addr != "" || !strings.Contains(c.log.String(), "RLIMIT_") {
				t.Errorf("with engine io_uring it ended with %v:\n%s", err, c.log.String())
			}
		})
	}
}
