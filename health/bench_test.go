package health

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/internal/rawsys"
)

// BenchmarkTCPChecks has a Monitor check 10,000 backends every 2s, and reports what that costs this
// process. One operation is one check, so the time of one is what the schedule says, not what it
// costs: look at cpu-µs/check and %core. On the loopback interface the process pays for the
// backends' half of each handshake too.
func BenchmarkTCPChecks(b *testing.B) {
	benchmarkTCPChecks(b, 10_000, 2*time.Second)
}

// BenchmarkTCPChecksOfTwo is what a small proxy pays.
func BenchmarkTCPChecksOfTwo(b *testing.B) {
	benchmarkTCPChecks(b, 2, 2*time.Second)
}

func benchmarkTCPChecks(b *testing.B, targets int, interval time.Duration) {
	port := listenEverywhere(b)
	all := make([]Target, targets)
	for i := range all {
		all[i] = Target{Backend: new(backend.Backend), Addr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i>>8), byte(i)), Port: port}}
	}
	m := New()
	group := m.Add(Group{Options: Options{Interval: interval, Jitter: 0.1, Seed: 1}, Checker: NewTCP(), Targets: all})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { m.Run(ctx) })
	<-time.After(interval) // the first checks are made

	checks, cpu, begin := m.Checks(), cpuTime(b), time.Now()
	b.ResetTimer()
	ticker := time.NewTicker(50 * time.Millisecond)
	for m.Checks()-checks < uint64(b.N) {
		<-ticker.C
	}
	ticker.Stop()
	b.StopTimer()
	checks, cpu = m.Checks()-checks, cpuTime(b)-cpu
	elapsed := time.Since(begin)
	b.ReportMetric(float64(cpu.Microseconds())/float64(checks), "cpu-µs/check")
	b.ReportMetric(100*cpu.Seconds()/elapsed.Seconds(), "%core")
	b.ReportMetric(float64(checks)/elapsed.Seconds(), "checks/s")
	cancel()
	running.Wait()
	for _, c := range group.Changes.Take() {
		if c.To != backend.HealthUp {
			b.Errorf("%+v", c)
		}
	}
}

// BenchmarkProber makes checks one batch after another, without a Monitor: what the kernel takes
// for a handshake and a reset, both halves.
func BenchmarkProber(b *testing.B) {
	const batch = 50 // what is due in 10 ms of 5,000 checks a second
	p := prober{epoll: -1}
	defer p.closeAll()
	var addrs [10_000]*rawsys.Sockaddr
	for i, port := 0, listenEverywhere(b); i < len(addrs); i++ {
		addrs[i] = sockaddrOf(&net.TCPAddr{IP: net.IPv4(127, 1, byte(i>>8), byte(i)), Port: port})
	}
	passed := 0
	ended := func(_ int32, errno unix.Errno) {
		if errno == 0 {
			passed++
		}
	}
	begun := 0
	for b.Loop() {
		p.start(int32(begun), addrs[begun%len(addrs)])
		if begun++; begun%batch == 0 {
			for p.busy > 0 {
				p.poll(ended)
			}
		}
	}
	for p.busy > 0 {
		p.poll(ended)
	}
	if passed != begun {
		b.Errorf("%d of %d checks passed", passed, begun)
	}
}

// listenEverywhere listens on one port of all addresses of 127.0.0.0/8.
func listenEverywhere(t testing.TB) (port int) {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
