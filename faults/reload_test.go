package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

const (
	// reloadsPerMinute and the rest are the load of TestFaultReloads.
	reloadsPerMinute = 200
	newPerSecond     = 1000
	longFlows        = 500
	// reloadSeconds is how long it lasts, unless reloadSecondsEnv says otherwise.
	reloadSeconds    = 10
	reloadSecondsEnv = "L4PROXY_FAULTS_RELOAD_SECONDS"
)

// TestFaultReloads reloads with SIGHUP, again and again, while clients come and go and 500
// connections stay and check every byte. No client may notice, and afterwards the proxy has no more
// descriptors than before. Every fifth file is bad, and is refused.
func TestFaultReloads(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		length := rounds(reloadSeconds)
		if text := os.Getenv(reloadSecondsEnv); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			length = n
		}
		var backends []string
		for range 3 {
			backends = append(backends, testnet.Serve(t, "tcp", "127.0.0.1:0", func(c testnet.Conn) {
				_ = c.SetDeadline(time.Time{}) // longer than testnet.Patience; c is open
				testnet.Echo(c)
			}).Addr)
		}
		front, extra := freeAddress(t, "127.0.0.1"), freeAddress(t, "127.0.0.1")
		s := settings{engine: engine, binds: []string{front}, backends: backends[:2], pool: "    on_removed: keep", top: "log: {connections: false}"}
		p := run(t, s)
		config := p.cmd.Args[len(p.cmd.Args)-1]
		text, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		base := string(text)
		variants := reloadVariants(base, backends, extra)

		reload := func(text, done string, count int) {
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_ = p.cmd.Process.Signal(syscall.SIGHUP)
			testnet.Eventually(t, "the proxy has answered the signal", func() bool { return strings.Count(p.log(), done) == count })
		}
		const reloaded, refusal = `"msg":"reloaded"`, `"msg":"reload refused`
		for i, text := range append(variants, base) { // what the first health check opens stays open
			reload(text, reloaded, i+1)
		}
		before := len(variants) + 1
		crowd := newReloadCrowd(front)
		crowd.start(longFlows, newPerSecond, 2*time.Second) // warm, so that there is a baseline
		crowd.stop()
		testnet.Eventually(t, "the first clients have gone", func() bool { return p.openFiles() < longFlows })
		time.Sleep(time.Second) // pipes and sockets that are kept for reuse
		files, memory := p.openFiles(), p.memory()

		crowd = newReloadCrowd(front)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			crowd.start(longFlows, newPerSecond, time.Duration(length)*time.Second)
		}()
		n := reloadsPerMinute * length / 60
		ticker := time.NewTicker(time.Minute / reloadsPerMinute)
		defer ticker.Stop()
		refused := 0
		for i := range n {
			<-ticker.C
			if i%5 == 4 {
				refused++
				reload(strings.Replace(variants[i%len(variants)], "backends:", "bakends:", 1), refusal, refused)
			} else {
				reload(variants[i%len(variants)], reloaded, before+i+1-refused)
			}
		}
		<-ended
		during := p.memory()
		crowd.stop()
		reload(base, reloaded, before+n-refused+1)
		more := 0
		if !testnet.Within(testnet.Patience, func() bool { more = p.openFiles() - files; return more <= 0 }) {
			t.Errorf("%d descriptors more than before", more)
		}
		t.Logf("%d reloads and %d refused in %d s; %d connections were served (%.0f/s), %d rounds of %d long ones; failed %d, reset %d",
			n-refused, refused, length, crowd.served.Load(), float64(crowd.served.Load())/float64(length), crowd.rounds.Load(), longFlows,
			crowd.failed.Load(), crowd.reset.Load())
		t.Logf("descriptors %d -> %d; memory %d KiB before, %d KiB under load, %d KiB after", files, p.openFiles(), memory, during, p.memory())
		if crowd.failed.Load()+crowd.reset.Load() > 0 {
			t.Errorf("first error: %v", crowd.first.Load())
		}
		if after := p.memory(); after > 2*max(memory, during) {
			t.Errorf("%d KiB of memory after, %d before", after, memory)
		}
		p.stop()
	})
}

// reloadVariants are configurations that differ in all that a reload can change, but for the
// address of the listener.
func reloadVariants(base string, backends []string, extra string) []string {
	pool := func(text string) string {
		before, _, _ := strings.Cut(base, "pools:")
		return before + "pools:\n" + text
	}
	quoted := func(i int) string { return strconv.Quote(backends[i]) }
	listener := func(text, more string) string {
		return strings.Replace(text, "    pool: back\n", "    pool: back\n"+more, 1)
	}
	second := func(text string) string {
		return strings.Replace(text, "pools:\n", fmt.Sprintf("  second: {bind: %q, pool: back}\npools:\n", extra), 1)
	}
	return []string{
		base,
		listener(pool("  back: {policy: round_robin, on_removed: keep, health: {interval: 200ms}, backends: ["+quoted(1)+", "+quoted(2)+"]}\n"),
			"    acl: [{deny: 192.0.2.0/24}, {allow: 127.0.0.0/8}]\n"),
		second(pool("  back: {policy: maglev, on_removed: keep, slow_start: 1s, backends: [{address: " + quoted(0) + ", weight: 9}, " + quoted(1) + "]}\n")),
		listener(pool("  back: {policy: p2c, on_removed: drain, outlier: {}, queue: {size: 100}, backends: [{address: "+quoted(2)+", max_connections: 5000}, "+
			quoted(0)+", {address: "+quoted(1)+", backup: true}]}\n"), "    max_connections: 5000\n    timeouts: {idle: 5m}\n"),
		"max_connections: 4000\n" + second(base),
		"max_connections: 3000\n" + base,
	}
}

// reloadCrowd are the clients of TestFaultReloads.
type reloadCrowd struct {
	address                       string
	over                          chan struct{}
	clients                       sync.WaitGroup
	served, rounds, failed, reset atomic.Int64
	first                         atomic.Value // the first error
}

func newReloadCrowd(address string) *reloadCrowd {
	return &reloadCrowd{address: address, over: make(chan struct{})}
}

// start opens long connections, each of which sends and checks some bytes ten times a second, and
// lets others come at a rate, for a time.
func (c *reloadCrowd) start(long, perSecond int, length time.Duration) {
	for i := range long {
		c.clients.Go(func() {
			conn, err := net.Dial("tcp", c.address)
			if err != nil {
				c.fault(err)
				return
			}
			defer conn.Close()
			ticker := time.NewTicker(100 * time.Millisecond)
			defer ticker.Stop()
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for {
				if err := c.round(conn, r, 1+r.IntN(4000)); err != nil {
					c.fault(fmt.Errorf("long connection: %w", err))
					return
				}
				c.rounds.Add(1)
				select {
				case <-c.over:
					return
				case <-ticker.C:
				}
			}
		})
	}
	const lanes = 20
	until := time.Now().Add(length)
	var comers sync.WaitGroup
	for i := range lanes {
		comers.Go(func() {
			ticker := time.NewTicker(time.Second * lanes / time.Duration(perSecond))
			defer ticker.Stop()
			r := rand.New(rand.NewPCG(2, uint64(i)))
			for time.Now().Before(until) {
				if err := c.visit(r); err != nil {
					c.fault(fmt.Errorf("new connection: %w", err))
				} else {
					c.served.Add(1)
				}
				<-ticker.C
			}
		})
	}
	comers.Wait()
}

// stop ends the long connections.
func (c *reloadCrowd) stop() {
	close(c.over)
	c.clients.Wait()
}

func (c *reloadCrowd) visit(r *rand.Rand) error {
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	return c.round(conn, r, 64)
}

func (c *reloadCrowd) round(conn net.Conn, r *rand.Rand, n int) error {
	text := make([]byte, n)
	for i := range text {
		text[i] = byte(r.Uint32())
	}
	if err := conn.SetDeadline(time.Now().Add(testnet.Patience)); err != nil {
		return err
	}
	return ask(conn.(testnet.Conn), string(text))
}

func (c *reloadCrowd) fault(err error) {
	c.first.CompareAndSwap(nil, err)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		c.reset.Add(1)
	} else {
		c.failed.Add(1)
	}
}

// memory returns the resident memory of the process, in KiB.
func (p *process) memory() (kib int) {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(text, &kib); err != nil {
		p.t.Fatalf("status: %s", status)
	}
	return kib
}
