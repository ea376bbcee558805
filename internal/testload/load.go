package testload

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// Load is a running load.
type Load struct {
	spec    Spec
	origin  *Origin
	began   time.Time
	stop    chan struct{} // closed when the load is to end
	stopped sync.Once
	expired atomic.Bool // it ended by itself
	running sync.WaitGroup

	streams atomic.Uint64 // the last one in use
	flows   []*flow

	served atomic.Int64 // visits without a failure
	alive  atomic.Int64 // flows

	mu       sync.Mutex
	failures map[Failure]int
	examples []string
	visits   []time.Duration // how long each took
	late     time.Duration   // the longest delay of a visit by the load itself
}

// streamsOfLoads keeps the streams of several loads on one origin apart.
var streamsOfLoads atomic.Uint64

// openingAtOnce bounds how many flows are opened at the same time.
const openingAtOnce = 64

// Start starts a load. It returns when all its long connections are open and have carried their
// first bytes both ways, and fails the test if one of them does not open.
func (o *Origin) Start(t testing.TB, spec Spec) *Load {
	t.Helper()
	l := &Load{
		spec: spec.withDefaults(), origin: o, began: time.Now(),
		stop: make(chan struct{}), failures: make(map[Failure]int),
	}
	l.streams.Store(streamsOfLoads.Add(1) << 32)
	t.Cleanup(func() { l.end(); l.running.Wait() })
	expire := time.AfterFunc(l.spec.Limit, func() { l.expired.Store(true); l.end() })
	t.Cleanup(func() { expire.Stop() })

	l.openFlows()
	if l.Failed() > 0 {
		t.Fatalf("opening %d long connections: %v", len(l.flows), l.Report())
	}
	if l.spec.Rate > 0 {
		l.running.Go(l.comeAndGo)
	}
	return l
}

// openFlows starts the long connections and waits until they are open or have failed.
func (l *Load) openFlows() {
	s := l.spec
	for i := range s.Exchanges {
		l.addFlow(fmt.Sprintf("exchange %d", i+1), l.exchange)
	}
	for i := range s.Bulk {
		l.addFlow(fmt.Sprintf("bulk %d", i+1), func(f *flow) error { return l.bulk(f, false) })
	}
	for i := range s.Slow {
		l.addFlow(fmt.Sprintf("slow reader %d", i+1), func(f *flow) error { return l.bulk(f, true) })
	}
	for i := range s.HalfClosed {
		if i%2 == 0 {
			l.addFlow(fmt.Sprintf("half-closed by the client %d", i+1), l.download)
		} else {
			l.addFlow(fmt.Sprintf("half-closed by the origin %d", i+1), l.upload)
		}
	}
	slots := make(chan struct{}, openingAtOnce)
	for _, f := range l.flows {
		slots <- struct{}{}
		f.ready = sync.OnceFunc(func() { l.alive.Add(1); <-slots })
		l.running.Go(func() { l.runFlow(f) })
	}
	for range openingAtOnce {
		slots <- struct{}{}
	}
}

// Stop ends the load: all connections end with a FIN each way and are checked to the last byte. It
// returns when they have ended, or failed to end within the patience.
func (l *Load) Stop() Report {
	l.end()
	l.running.Wait()
	return l.Report()
}

func (l *Load) end() { l.stopped.Do(func() { close(l.stop) }) }

// ending reports whether the load is to end.
func (l *Load) ending() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// rest waits until a time, and reports false if the load is to end before it.
func (l *Load) rest(until time.Time) bool {
	wait := time.Until(until)
	if wait <= 0 {
		return !l.ending()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.stop:
		return false
	}
}

// Failed returns the number of failed connections so far.
func (l *Load) Failed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, count := range l.failures {
		n += count
	}
	return n
}

// Served returns the number of visits so far that had their answer.
func (l *Load) Served() int { return int(l.served.Load()) }

// Alive returns the number of long connections that are open.
func (l *Load) Alive() int { return int(l.alive.Load()) }

// nextStream returns a stream that no other connection has.
func (l *Load) nextStream() testnet.Stream { return testnet.Stream(l.streams.Add(1)) }

// dial connects to the proxy from one of the sources.
func (l *Load) dial(turn int) (testnet.Conn, error) {
	d := net.Dialer{LocalAddr: l.source(turn)}
	d.SetMultipathTCP(false)
	ctx, cancel := context.WithTimeout(context.Background(), l.spec.Patience)
	defer cancel()
	c, err := d.DialContext(ctx, l.spec.Network, l.spec.Target)
	if err != nil {
		return nil, err
	}
	return c.(testnet.Conn), nil
}

// source returns the client's address for a connection, or nil to let the kernel choose.
func (l *Load) source(turn int) net.Addr {
	target, err := netip.ParseAddrPort(l.spec.Target)
	if l.spec.Network == "unix" || err != nil || !target.Addr().Is4() || !target.Addr().IsLoopback() {
		return nil
	}
	i := turn%l.spec.Sources + 1
	return &net.TCPAddr{IP: net.IPv4(127, 1, byte(i>>8), byte(i))}
}
