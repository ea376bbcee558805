package testload

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// relay is a small proxy whose faults the load must notice. Each is off until it is set.
type relay struct {
	addr    string
	turn    atomic.Int64
	backend []string
	stalled atomic.Bool // passes nothing on
	wrong   atomic.Bool // changes a byte of each read
	early   atomic.Bool // ends connections with a FIN
	resets  atomic.Bool // resets connections
}

func startRelay(t *testing.T, o *Origin) *relay {
	r := &relay{backend: o.Addrs}
	r.addr = testnet.Serve(t, "tcp", "", r.serve).Addr
	return r
}

func (r *relay) serve(client testnet.Conn) {
	_ = client.SetDeadline(time.Time{})
	if r.resets.Load() {
		_ = testnet.Reset(client)
		return
	}
	if r.early.Load() {
		return
	}
	backend, err := testnet.TryDial("tcp", r.backend[r.turn.Add(1)%int64(len(r.backend))])
	if err != nil {
		return
	}
	_ = backend.SetDeadline(time.Time{})
	defer backend.Close()
	var ways sync.WaitGroup
	defer ways.Wait()
	ways.Go(func() { r.pass(backend, client, 1) })
	r.pass(client, backend, 2)
}

// pass copies one direction and notices a fault within a few milliseconds. Each direction changes
// another bit, so that an echo does not hide the change.
func (r *relay) pass(to, from testnet.Conn, bit byte) {
	p := make([]byte, 64<<10)
	for {
		_ = from.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		n, err := from.Read(p)
		for r.stalled.Load() {
			time.Sleep(time.Millisecond)
		}
		if r.wrong.Load() && n > 0 {
			p[n/2] ^= bit
		}
		if n > 0 {
			if _, failed := to.Write(p[:n]); failed != nil {
				to.Close()
				from.Close()
				return
			}
		}
		timeout, ok := err.(net.Error)
		switch late := ok && timeout.Timeout(); {
		case r.resets.Load():
			_ = testnet.Reset(to)
			_ = testnet.Reset(from)
			return
		case err == io.EOF:
			_ = to.CloseWrite()
			return
		case r.early.Load(), err != nil && !late:
			to.Close()
			from.Close()
			return
		}
	}
}

// everything is a small load with all kinds of connections.
func everything(target string) Spec {
	return Spec{
		Target: target, Rate: 100, Exchanges: 8, Bulk: 2, Slow: 2, HalfClosed: 4,
		Interval: 5 * time.Millisecond, BulkRate: 8 << 20, Patience: testnet.Patience,
	}
}

func TestCleanLoad(t *testing.T) {
	testnet.SameFiles(t)
	o := Serve(t, 3)
	r := startRelay(t, o)
	l := o.Start(t, everything(r.addr))
	if got := l.Alive(); got != 16 {
		t.Errorf("%d long connections are open, want 16", got)
	}
	testnet.Eventually(t, "20 visits", func() bool { return l.Served() >= 20 })
	report := l.Stop()
	report.MustBeClean(t)
	if report.Flows != 16 || l.Alive() != 0 {
		t.Errorf("%d long connections, %d of them still open, want 16 and 0", report.Flows, l.Alive())
	}
	if report.Visits.P50 <= 0 || report.Stalls.P50 <= 0 || report.Stalls.P50 > report.Stalls.Max {
		t.Errorf("times: visits %v, stalls %v", report.Visits, report.Stalls)
	}
}

// Two loads on one origin, over a unix socket and over TCP.
func TestTwoLoads(t *testing.T) {
	o := Serve(t, 1)
	r := startRelay(t, o)
	path := t.TempDir() + "/front"
	testnet.Serve(t, "unix", path, r.serve)
	spec := everything(r.addr)
	first := o.Start(t, spec)
	spec.Network, spec.Target = "unix", path
	second := o.Start(t, spec)
	for _, l := range []*Load{first, second} {
		testnet.Eventually(t, "5 visits", func() bool { return l.Served() >= 5 })
		l.Stop().MustBeClean(t)
	}
}

func TestFailuresAreClassified(t *testing.T) {
	const patience = 300 * time.Millisecond
	for _, test := range []struct {
		fault Failure
		set   func(*relay)
	}{
		{Reset, func(r *relay) { r.resets.Store(true) }},
		{Short, func(r *relay) { r.early.Store(true) }},
		{Corrupt, func(r *relay) { r.wrong.Store(true) }},
		{Stalled, func(r *relay) { r.stalled.Store(true) }},
	} {
		t.Run(string(test.fault), func(t *testing.T) {
			for name, spec := range map[string]Spec{
				"visits":      {Rate: 50},
				"exchange":    {Exchanges: 1},
				"bulk":        {Bulk: 1},
				"slow":        {Slow: 1},
				"half-closed": {HalfClosed: 2},
			} {
				t.Run(name, func(t *testing.T) {
					o := Serve(t, 1)
					r := startRelay(t, o)
					spec.Target, spec.Interval, spec.Patience = r.addr, 5*time.Millisecond, patience
					if test.fault != Stalled {
						spec.Patience = testnet.Patience
					}
					l := o.Start(t, spec)
					test.set(r)
					testnet.Eventually(t, "a failure", func() bool { return l.Failed() > 0 })
					r.stalled.Store(false)
					report := l.Stop()
					// A close with unread bytes is a reset, and the end of one direction may come
					// first.
					alike := test.fault == Short && report.Failures[Reset] > 0 || test.fault == Reset && report.Failures[Short] > 0
					if report.Failures[test.fault] == 0 && !alike || len(report.Examples) == 0 {
						t.Errorf("report: %v; want %s", report, test.fault)
					}
				})
			}
		})
	}
}

func TestRefusedVisits(t *testing.T) {
	o := Serve(t, 1)
	l := o.Start(t, Spec{Target: testnet.Refusing(t), Rate: 100})
	testnet.Eventually(t, "a failure", func() bool { return l.Failed() > 0 })
	if report := l.Stop(); report.Failures[Refused] == 0 || report.Served > 0 {
		t.Errorf("report: %v", report)
	}
}

// A pause that is shorter than the patience is no failure, but the longest wait of every flow.
func TestStallsAreMeasured(t *testing.T) {
	const pause = 150 * time.Millisecond
	o := Serve(t, 1)
	r := startRelay(t, o)
	spec := everything(r.addr)
	spec.Rate = 0
	l := o.Start(t, spec)
	l.ForgetStalls()
	r.stalled.Store(true)
	<-time.After(pause)
	r.stalled.Store(false)
	report := l.Stop()
	report.MustBeClean(t)
	// A slow reader may have had enough bytes in its socket's buffer.
	if report.Stalls.P50 < pause/2 {
		t.Errorf("stalls %v after a pause of %v", report.Stalls, pause)
	}
}

func TestLoadEndsByItself(t *testing.T) {
	o := Serve(t, 1)
	r := startRelay(t, o)
	spec := everything(r.addr)
	spec.Limit = time.Second
	l := o.Start(t, spec)
	testnet.Eventually(t, "the load has ended", func() bool { return l.Alive() == 0 })
	if report := l.Stop(); !report.Expired || len(report.Failures) > 0 {
		t.Errorf("report: %v", report)
	}
}

func TestPercentiles(t *testing.T) {
	var times []time.Duration
	for i := range 200 {
		times = append(times, time.Duration(200-i))
	}
	if got, want := percentiles(times), (Percentiles{100, 198, 200}); got != want {
		t.Errorf("percentiles = %+v, want %+v", got, want)
	}
	if got := percentiles(nil); got != (Percentiles{}) {
		t.Errorf("percentiles of nothing = %+v", got)
	}
}
