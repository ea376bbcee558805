package eventloop

import (
	"math"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// echo is a handler with both ends of a unix connection in one loop: what slot 0 sends comes back
// from slot 1. It sets a timer for each message, as a proxy would for a dial.
type echo struct {
	loop    *Loop
	left    int
	message []byte
	done    chan struct{}
	t       testing.TB
}

func (e *echo) Complete(c *Completion) {
	if c.Err != 0 || c.N != len(e.message) {
		e.t.Errorf("%v: N %d, %v", c.Op, c.N, c.Err)
	}
	switch {
	case c.Op == OpSend:
		if c.Slot == 1 {
			e.loop.Recv(1)
		}
	case c.Slot == 1:
		e.loop.Forward(1, c.Buffer, c.N, false)
	default:
		e.loop.Release(c.Buffer)
		if e.left--; e.left == 0 {
			e.done <- struct{}{}
			return
		}
		e.next()
	}
}

func (e *echo) next() {
	e.loop.SetTimer(0, e.loop.Now()+int64(time.Hour))
	e.loop.Recv(0)
	e.loop.Send(0, e.message)
}

func (e *echo) Expire(uint32)  {}
func (e *echo) Message(m any)  { m.(func())() }
func (e *echo) BatchEnd()      {}
func (e *echo) exchange(n int) { e.loop.Post(func() { e.left = n; e.next() }); <-e.done }

// startEcho runs the loop until the end of the test.
func startEcho(t testing.TB, engine string) *echo {
	t.Helper()
	e := &echo{message: make([]byte, 200), done: make(chan struct{}), t: t}
	var err error
	if e.loop, err = New(engine, nil, e); err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- e.loop.Run(-1) }()
	e.loop.Post(func() {
		e.loop.Attach(0, fds[0])
		e.loop.Attach(1, fds[1])
		e.loop.Recv(1)
	})
	t.Cleanup(func() {
		e.loop.Post(func() { e.loop.Quit() })
		if err := <-ran; err != nil {
			t.Error(err)
		}
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	return e
}

// BenchmarkEcho measures a message there and back: four operations. It does not show what batches
// of many connections save, nor the network.
func BenchmarkEcho(b *testing.B) {
	for _, engine := range []string{Epoll, IOUring} {
		b.Run(engine, func(b *testing.B) {
			needEngine(b, engine)
			e := startEcho(b, engine)
			e.exchange(100)
			b.ReportAllocs()
			b.ResetTimer()
			e.exchange(b.N)
		})
	}
}

// churn is a handler that connects to a listening socket of its own loop again and again, and
// closes both ends.
type churn struct {
	loop     *Loop
	to       *rawsys.Sockaddr
	left     int
	accepted bool
	done     chan struct{}
	t        testing.TB
}

// The slots of a churn.
const (
	slotListener = iota
	slotClient
	slotServer
)

func (c *churn) Complete(done *Completion) {
	switch {
	case done.Err != 0:
		c.t.Errorf("%v: %v", done.Op, done.Err)
	case done.Op == OpAccept:
		c.loop.Attach(slotServer, done.FD)
		c.accepted = true
	}
	if c.accepted && !c.loop.Busy(slotClient) {
		c.accepted = false
		c.loop.Close(slotServer)
		c.loop.Reset(slotClient)
		if c.left--; c.left == 0 {
			c.done <- struct{}{}
			return
		}
		c.next()
	}
}

func (c *churn) next() {
	fd, errno := rawsys.Socket(c.to.Family(), unix.SOCK_STREAM|c.loop.SocketFlags(), 0)
	if errno != 0 {
		c.t.Error(errno)
	}
	c.loop.Attach(slotClient, fd)
	c.loop.Connect(slotClient, c.to)
}

func (c *churn) Expire(uint32)  {}
func (c *churn) Message(m any)  { m.(func())() }
func (c *churn) BatchEnd()      {}
func (c *churn) exchange(n int) { c.loop.Post(func() { c.left = n; c.next() }); <-c.done }

// TestNoAllocations: no event allocates, neither a message nor a connection.
func TestNoAllocations(t *testing.T) {
	const events = 1000
	measure := func(t *testing.T, exchange func(n int)) {
		t.Helper()
		exchange(events) // tables and buffers grow
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		exchange(events)
		runtime.ReadMemStats(&after)
		// The runtime allocates a little now and then; once an event would be a hundred times as
		// much.
		if n := after.Mallocs - before.Mallocs; n > events/100 {
			t.Errorf("%d allocations for %d events", n, events)
		}
	}
	for _, engine := range []string{Epoll, IOUring} {
		t.Run(engine, func(t *testing.T) {
			needEngine(t, engine)
			t.Run("messages", func(t *testing.T) { measure(t, startEcho(t, engine).exchange) })
			t.Run("connections", func(t *testing.T) { measure(t, startChurn(t, engine).exchange) })
		})
	}
}

func startChurn(t *testing.T, engine string) *churn {
	t.Helper()
	listener, addr := listen(t, "tcp", 8)
	c := &churn{to: sockaddr(t, addr), done: make(chan struct{}), t: t}
	var err error
	if c.loop, err = New(engine, nil, c); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- c.loop.Run(-1) }()
	c.loop.Post(func() {
		c.loop.Attach(slotListener, listener)
		c.loop.Accept(slotListener, math.MaxInt)
	})
	t.Cleanup(func() {
		c.loop.Post(func() { c.loop.Quit() })
		if err := <-ran; err != nil {
			t.Error(err)
		}
		unix.Close(listener)
	})
	return c
}

// BenchmarkWheel measures a timer that is set again, among many, while the clock advances.
func BenchmarkWheel(b *testing.B) {
	const timers = 100_000
	var w wheel
	now := int64(0)
	for id := range uint32(timers) {
		w.set(id, now+int64(id)*tick/100)
	}
	fire := func(uint32) {}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now += 1000
		w.set(uint32(i*7919%timers), now+int64(time.Minute))
		w.expire(now, fire)
	}
}
