package eventloop

import (
	"math"
	"net"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	// The runtime's own epoll instance is made on first use; it must not count as a leak of the
	// first test.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	goleak.VerifyTestMain(m)
}

// result is a completion as a test keeps it.
type result struct {
	Completion
	data []byte // what was received
}

// driver runs a loop on a goroutine of its own and records what it completes. Its methods are for
// the test's goroutine, but for those that say otherwise.
type driver struct {
	t      *testing.T
	engine string
	loop   *Loop
	ran    chan error // what Run returned

	results chan result
	pending []result // received from results, not asked for yet
	expired chan uint32
	slots   []Slot // in use
	next    Slot
	over    bool // Run has returned

	// Only for the loop's thread.
	hooks    map[Slot]func(*Completion) // completions of these slots are not recorded
	keep     bool                       // received buffers are not released
	onExpire func(id uint32)            // instead of expired
	messages []any
}

func (d *driver) Complete(c *Completion) {
	if hook := d.hooks[c.Slot]; hook != nil {
		hook(c)
		return
	}
	r := result{Completion: *c}
	if c.Buffer != 0 {
		r.data = slices.Clone(d.loop.Bytes(c.Buffer)[:c.N])
		if !d.keep {
			d.loop.Release(c.Buffer)
		}
	}
	d.results <- r
}

func (d *driver) Expire(id uint32) {
	if d.onExpire != nil {
		d.onExpire(id)
		return
	}
	d.expired <- id
}

func (d *driver) Message(m any) {
	if f, ok := m.(func()); ok {
		f()
		return
	}
	d.messages = append(d.messages, m)
}

func (d *driver) BatchEnd() {}

// start runs a loop until the end of the test, and then checks that nothing of it is left.
func start(t *testing.T, engine string) *driver {
	t.Helper()
	before := openFiles(t)
	t.Cleanup(func() { // after all others: of peers, for example
		if after := openFiles(t); after != before {
			t.Errorf("%d descriptors are open, %d were before the test", after, before)
		}
	})
	return run(t, engine)
}

// run is start without the check: for a test's second loop.
func run(t *testing.T, engine string) *driver {
	t.Helper()
	d := &driver{
		t: t, engine: engine, ran: make(chan error, 1),
		results: make(chan result, 1<<16), expired: make(chan uint32, 1<<10),
		hooks: make(map[Slot]func(*Completion)),
	}
	var err error
	if d.loop, err = New(engine, nil, d); err != nil {
		t.Fatal(err)
	}
	go func() { d.ran <- d.loop.Run(-1) }()
	t.Cleanup(d.stop)
	return d
}

func (d *driver) stop() {
	if d.over {
		return
	}
	for _, s := range d.slots {
		d.do(func() {
			delete(d.hooks, s)
			d.loop.CancelRead(s)
			d.loop.CancelWrite(s)
		})
	}
	for busy := true; busy; {
		d.do(func() {
			busy = slices.ContainsFunc(d.slots, d.loop.Busy)
		})
		if busy {
			d.take()
		}
	}
	for len(d.results) > 0 {
		d.take()
	}
	for _, r := range d.pending {
		if r.Op == OpAccept && r.Err == 0 {
			unix.Close(r.FD)
		}
	}
	for len(d.slots) > 0 {
		d.close(d.slots[0])
	}
	d.loop.Post(func() { d.loop.Quit() })
	if err := d.end(); err != nil {
		d.t.Errorf("Run: %v", err)
	}
}

// end waits for Run to return.
func (d *driver) end() error {
	select {
	case err := <-d.ran:
		d.over = true
		return err
	case <-time.After(patience):
		d.t.Fatal("Run does not return")
		return nil
	}
}

// do runs f on the loop's thread.
func (d *driver) do(f func()) {
	d.t.Helper()
	done := make(chan struct{})
	d.loop.Post(func() { f(); close(done) })
	select {
	case <-done:
	case err := <-d.ran:
		d.ran <- err
		d.t.Fatalf("the loop has ended: %v", err)
	case <-time.After(patience):
		d.t.Fatal("the loop does not take messages")
	}
}

// take moves the next result to pending.
func (d *driver) take() {
	d.t.Helper()
	select {
	case r := <-d.results:
		d.pending = append(d.pending, r)
	case err := <-d.ran:
		d.ran <- err
		d.t.Fatalf("the loop has ended: %v", err)
	case <-time.After(patience):
		d.t.Fatalf("no completion comes; %d others have", len(d.pending))
	}
}

// await returns the next completion of an operation on s.
func (d *driver) await(s Slot, op Op) result {
	d.t.Helper()
	for i := 0; ; i++ {
		if i == len(d.pending) {
			d.take()
		}
		if r := d.pending[i]; r.Slot == s && r.Op == op {
			d.pending = slices.Delete(d.pending, i, i+1)
			return r
		}
	}
}

// attach puts a descriptor into a free slot.
func (d *driver) attach(fd int) Slot {
	s := d.next
	d.next++
	d.slots = append(d.slots, s)
	d.do(func() { d.loop.Attach(s, fd) })
	return s
}

func (d *driver) forget(s Slot) {
	d.slots = slices.DeleteFunc(d.slots, func(other Slot) bool { return other == s })
}

func (d *driver) close(s Slot) {
	d.t.Helper()
	d.forget(s)
	d.do(func() { d.loop.Close(s) })
}

func (d *driver) accept(s Slot)              { d.do(func() { d.loop.Accept(s, math.MaxInt) }) }
func (d *driver) startRecv(s Slot)           { d.do(func() { d.loop.Recv(s) }) }
func (d *driver) startSend(s Slot, p []byte) { d.do(func() { d.loop.Send(s, p) }) }
func (d *driver) spliced(s Slot, on bool)    { d.do(func() { d.loop.Spliced(s, on) }) }

func (d *driver) recv(s Slot) result {
	d.t.Helper()
	d.startRecv(s)
	return d.await(s, OpRecv)
}

func (d *driver) send(s Slot, p []byte) result {
	d.t.Helper()
	d.startSend(s, p)
	return d.await(s, OpSend)
}

// recvExactly receives n bytes.
func (d *driver) recvExactly(s Slot, n int) []byte {
	d.t.Helper()
	var got []byte
	for len(got) < n {
		r := d.recv(s)
		if r.Err != 0 || r.N == 0 {
			d.t.Fatalf("recv after %d of %d bytes: N %d, %v", len(got), n, r.N, r.Err)
		}
		got = append(got, r.data...)
	}
	return got
}

// cancelRead cancels the operation on the reading half of s and returns how it ended.
func (d *driver) cancelRead(s Slot, op Op) result {
	d.t.Helper()
	d.do(func() { d.loop.CancelRead(s) })
	return d.await(s, op)
}

func (d *driver) cancelWrite(s Slot, op Op) result {
	d.t.Helper()
	d.do(func() { d.loop.CancelWrite(s) })
	return d.await(s, op)
}

// expect compares the outcome of an operation.
func (r result) expect(t *testing.T, n int, errno unix.Errno) {
	t.Helper()
	if r.N != n || r.Err != errno {
		t.Fatalf("%v completed with N %d, error %q; want N %d, error %q", r.Op, r.N, r.Err, n, errno)
	}
}
