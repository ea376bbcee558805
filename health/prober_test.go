package health

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// probes drives a prober without a Monitor.
type probes struct {
	prober
	t       testing.TB
	results map[int32]unix.Errno
}

func newProbes(t testing.TB) *probes {
	testnet.SameFiles(t)
	p := &probes{prober: prober{epoll: -1}, t: t, results: map[int32]unix.Errno{}}
	t.Cleanup(p.closeAll)
	return p
}

func (p *probes) begin(target int32, addr net.Addr) int32 {
	p.t.Helper()
	probe, errno := p.start(target, sockaddrOf(addr))
	if probe < 0 {
		p.results[target] = errno
	}
	return probe
}

// finish waits for all that are under way.
func (p *probes) finish() {
	p.t.Helper()
	testnet.Eventually(p.t, "all checks end", func() bool {
		p.poll(func(target int32, errno unix.Errno) { p.results[target] = errno })
		return p.busy == 0
	})
}

func TestApplicationsSeeNoConnection(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			p := newProbes(t)
			b := testnet.Listen(t, "tcp", address)
			addr := addrOf(t, "tcp", b.Addr)
			before := socketsTo(t, addr)
			const rounds, each = 10, 20
			for range rounds {
				for target := range int32(each) {
					p.begin(target, addr)
				}
				p.finish()
				for target := range int32(each) {
					if errno := p.results[target]; errno != 0 {
						t.Fatalf("check %d: %v", target, errno)
					}
				}
			}
			if after := socketsTo(t, addr); !slices.Equal(after, before) {
				t.Errorf("the checks left sockets in the states %v, before them there were %v", after, before)
			}
			// The queue is first in, first out: what is accepted first was complete first.
			marker := testnet.Dial(t, "tcp", b.Addr)
			if got := b.Accept(t); got.RemoteAddr().String() != marker.LocalAddr().String() {
				t.Errorf("the server accepted %v, want no connection before %v", got.RemoteAddr(), marker.LocalAddr())
			}
		})
	}
}

// socketsTo is the states of all sockets connected to addr, as numbers of the kernel's
// include/net/tcp_states.h: 06 is TIME_WAIT.
func socketsTo(t testing.TB, addr net.Addr) (states []string) {
	t.Helper()
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		port := fmt.Sprintf(":%04X", addr.(*net.TCPAddr).Port)
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); strings.HasSuffix(fields[2], port) {
				states = append(states, fields[3])
			}
		}
	}
	return states
}

func TestProberTellsWhoAnswersAndWhoRefuses(t *testing.T) {
	p := newProbes(t)
	listening := addrOf(t, "tcp", testnet.Listen(t, "tcp", "").Addr)
	listening6 := addrOf(t, "tcp", testnet.Listen(t, "tcp", "[::1]:0").Addr)
	refusing := addrOf(t, "tcp", testnet.Refusing(t))
	random := rand.New(rand.NewPCG(1, 2))
	// Sockets are used again, now for one and now for the other: no verdict may be that of the
	// check before.
	for range 100 {
		want := map[int32]unix.Errno{}
		for target := range int32(1 + random.IntN(30)) {
			switch random.IntN(3) {
			case 0:
				p.begin(target, listening)
				want[target] = 0
			case 1:
				p.begin(target, listening6)
				want[target] = 0
			case 2:
				p.begin(target, refusing)
				want[target] = unix.ECONNREFUSED
			}
		}
		p.finish()
		for target, errno := range want {
			if got, ended := p.results[target]; got != errno || !ended {
				t.Fatalf("check %d: %v (ended: %v), want %v", target, got, ended, errno)
			}
		}
		clear(p.results)
	}
}

func TestSocketsAreUsedAgain(t *testing.T) {
	p := newProbes(t)
	addr := addrOf(t, "tcp", testnet.Listen(t, "tcp", "").Addr)
	round := func(n int) {
		for target := range int32(n) {
			p.begin(target, addr)
		}
		p.finish()
	}
	round(3)
	before := testnet.OpenFiles(t)
	for range 100 {
		round(3)
	}
	if after := testnet.OpenFiles(t); after != before {
		t.Errorf("%d descriptors are open after 100 rounds, %d were after the first", after, before)
	}
	if len(p.probes) != 3 {
		t.Errorf("%d sockets were needed for 3 checks at once", len(p.probes))
	}
	round(maxIdle + 50)
	if p.resting != maxIdle {
		t.Errorf("%d sockets are kept, want %d", p.resting, maxIdle)
	}
	if after := testnet.OpenFiles(t); after != before+maxIdle-3 {
		t.Errorf("%d descriptors are open after many checks at once, want %d", after, before+maxIdle-3)
	}
	round(maxIdle + 50)
	if n := len(p.probes); n != maxIdle+50 {
		t.Errorf("there were %d places for %d checks at once", n, maxIdle+50)
	}
}

func TestCancelledChecksLeaveNothing(t *testing.T) {
	p := newProbes(t)
	silent, listening := addrOf(t, "tcp", testnet.Silent(t)), addrOf(t, "tcp", testnet.Listen(t, "tcp", "").Addr)
	for target := range int32(100) {
		probe := p.begin(target, silent)
		if probe < 0 {
			t.Fatalf("check %d: %v", target, p.results[target])
		}
		p.poll(func(target int32, errno unix.Errno) { t.Errorf("check %d has ended: %v", target, errno) })
		p.cancel(probe)
		p.begin(target, listening)
		p.finish()
		if errno := p.results[target]; errno != 0 {
			t.Fatalf("check %d, with a socket that got no answer before: %v", target, errno)
		}
	}
	if len(p.probes) != 1 {
		t.Errorf("%d sockets were needed for one check at a time", len(p.probes))
	}
}

// A child process on its way to exec has all sockets of its parent for a moment, so that closing
// one does not end it.
func TestClosedSocketsSayNothing(t *testing.T) {
	p := newProbes(t)
	listening, silent := addrOf(t, "tcp", testnet.Listen(t, "tcp", "").Addr), addrOf(t, "tcp", testnet.Silent(t))
	first := p.begin(0, listening)
	p.finish()
	child, err := unix.Dup(int(p.probes[first].fd))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	p.take(unix.AF_INET)
	p.close(first)
	if second := p.begin(1, silent); second != first {
		t.Fatalf("the next check is in place %d, want %d", second, first)
	}
	p.poll(func(target int32, errno unix.Errno) {
		t.Errorf("check %d has ended, without an answer: %v", target, errno)
	})
}

// limitFiles lets this process open no more files until the returned function is called.
func limitFiles(t testing.TB) (lift func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	set := func(limit unix.Rlimit) {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}
	lift = func() { set(old) }
	t.Cleanup(lift)
	set(unix.Rlimit{Cur: 0, Max: old.Max})
	return lift
}

func TestProberWithoutDescriptors(t *testing.T) {
	p := newProbes(t)
	addr := addrOf(t, "tcp", testnet.Listen(t, "tcp", "").Addr)
	lift := limitFiles(t)
	for target := range int32(3) { // the epoll instance is the first that is missing
		p.begin(target, addr)
	}
	lift()
	for target, errno := range p.results {
		if !isLocal(errorOf(errno)) {
			t.Errorf("check %d: %v, want an error of this machine", target, errno)
		}
	}
	if len(p.results) != 3 || p.busy != 0 {
		t.Errorf("%d checks ended and %d are under way, want 3 and 0", len(p.results), p.busy)
	}
	p.begin(3, addr)
	lift = limitFiles(t)
	p.begin(4, addr)
	lift()
	p.begin(5, addr)
	p.finish()
	if p.results[3] != 0 || p.results[4] != unix.EMFILE || p.results[5] != 0 {
		t.Errorf("checks 3, 4 and 5: %v, want only 4 to fail, without a descriptor", p.results)
	}
}

func TestSockaddrOf(t *testing.T) {
	for _, test := range []struct {
		addr   net.Addr
		family int
	}{
		{&net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 0x1234}, unix.AF_INET},
		{&net.TCPAddr{IP: net.ParseIP("::ffff:10.1.2.3"), Port: 1}, unix.AF_INET},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 0xffff}, unix.AF_INET6},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 1, Zone: "lo"}, 0},
		{&net.TCPAddr{Port: 1}, 0},
		{&net.UnixAddr{Name: "/run/x", Net: "unix"}, 0},
	} {
		family := 0
		if s := sockaddrOf(test.addr); s != nil {
			family = s.Family()
		}
		if family != test.family {
			t.Errorf("%v: family %d, want %d", test.addr, family, test.family)
		}
	}
}
