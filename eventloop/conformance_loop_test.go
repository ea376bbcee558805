package eventloop

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"l4proxy/internal/rawsys"
)

var loopBehaviours = []behaviour{
	{"loop/timers", loopTimers},
	{"loop/what came in a pause before timers", loopPauses},
	{"loop/messages from many goroutines", loopMessages},
	{"loop/message while it waits long", loopWakes},
	{"loop/message in a long batch", loopMessageInBatch},
	{"loop/Post after the end", loopEnds},
	{"loop/panic", loopPanics},
	{"loop/CPU time", loopCPUTime},
	{"loop/Detach with an operation in flight", loopDetachBusy},
	{"loop/pipes are bounded", loopPipes},
}

// A message does not wait until all events of a batch have been handled.
func loopMessageInBatch(t *testing.T, d *driver) {
	const sockets, most = 200, 64
	var peers []net.Conn
	handled, waited := 0, -1
	for range sockets {
		s, peer := d.pair("unix")
		peers = append(peers, peer)
		d.do(func() {
			d.hooks[s] = func(c *Completion) {
				d.loop.Release(c.Buffer)
				if handled++; handled == 1 {
					d.loop.Post(func() { waited = handled - 1 })
				}
			}
			d.loop.Recv(s)
		})
	}
	d.do(func() { // on the loop's thread: it finds all of them with the next look
		for _, peer := range peers {
			if _, err := peer.Write([]byte{1}); err != nil {
				t.Error(err)
			}
		}
	})
	for done := false; !done; {
		d.do(func() { done = handled == sockets && waited >= 0 })
	}
	if waited > most {
		t.Errorf("the message came after %d more events, want at most %d", waited, most)
	}
}

func loopTimers(t *testing.T, d *driver) {
	var started int64
	d.do(func() {
		started = d.loop.Now()
		at := func(ms int64) int64 { return started + ms*int64(time.Millisecond) }
		d.loop.SetTimer(3, at(90))
		d.loop.SetTimer(1, at(30))
		d.loop.SetTimer(2, at(60))
		d.loop.SetTimer(4, at(1))
		d.loop.StopTimer(4)
		d.loop.SetTimer(5, at(1))
		d.loop.SetTimer(5, at(120))
		d.loop.SetTimer(6, at(int64(time.Hour/time.Millisecond)))
	})
	for _, want := range []uint32{1, 2, 3, 5} {
		select {
		case id := <-d.expired:
			if id != want {
				t.Fatalf("timer %d expired, want %d", id, want)
			}
		case <-time.After(patience):
			t.Fatalf("timer %d does not expire", want)
		}
	}
	if early := started + 120*int64(time.Millisecond) - rawsys.Monotonic(); early > 0 {
		t.Fatalf("the last timer expired %v early", time.Duration(early))
	}
}

func loopMessages(t *testing.T, d *driver) {
	const senders, each = 8, 2000
	type message struct{ sender, number int }
	var wg sync.WaitGroup
	for sender := range senders {
		wg.Go(func() {
			for number := range each {
				if !d.loop.Post(message{sender, number}) {
					t.Error("Post says that the loop has ended")
				}
			}
		})
	}
	wg.Wait()
	var next [senders]int
	d.do(func() {
		for _, m := range d.messages {
			m := m.(message)
			if m.number != next[m.sender] {
				t.Errorf("sender %d: message %d after %d", m.sender, m.number, next[m.sender]-1)
			}
			next[m.sender] = m.number + 1
		}
	})
	for sender, n := range next {
		if n != each {
			t.Errorf("sender %d: %d of %d messages", sender, n, each)
		}
	}
}

// loopWakes posts to a loop in each of its kinds of wait: a timer that expires after spinDown shows
// that it is in the one without a limit.
func loopWakes(t *testing.T, d *driver) {
	for range 5 {
		d.do(func() { d.loop.SetTimer(0, d.loop.Now()+int64(4*spinDown)) })
		<-d.expired
		for range 3 {
			d.do(func() {})
		}
	}
}

func loopEnds(t *testing.T, d *driver) {
	d.loop.Post(func() { d.loop.Quit() })
	if err := d.end(); err != nil {
		t.Fatalf("Run: %v", err)
	}
	if d.loop.Post("late") {
		t.Error("Post says that a loop takes messages that has ended")
	}
}

func loopPanics(t *testing.T, d *driver) {
	d.loop.Post(func() { panic("a handler's mistake") })
	var panicked *PanicError
	if err := d.end(); !errors.As(err, &panicked) || panicked.Value != "a handler's mistake" {
		t.Fatalf("Run: %v", err)
	}
	if !bytes.Contains(panicked.Stack, []byte("loopPanics")) {
		t.Errorf("the stack does not show where it was:\n%s", panicked.Stack)
	}
}

func loopDetachBusy(t *testing.T, d *driver) {
	s, _ := d.pair("tcp")
	d.startRecv(s)
	var value any
	d.do(func() {
		defer func() { value = recover() }()
		d.loop.Detach(s)
	})
	if value == nil {
		t.Error("a socket was detached with a recv in flight")
	}
}

func loopPipes(t *testing.T, d *driver) {
	var pipes []*Pipe
	d.do(func() {
		for p := d.loop.pipes.borrow(); p != nil; p = d.loop.pipes.borrow() {
			pipes = append(pipes, p)
		}
	})
	if len(pipes) != PipesPerLoop {
		t.Errorf("%d pipes were free, want %d", len(pipes), PipesPerLoop)
	}
	d.do(func() {
		for _, p := range pipes {
			d.loop.ReturnPipe(p)
		}
		if p := d.loop.pipes.borrow(); p == nil {
			t.Error("no pipe is free after all were returned")
		} else {
			d.loop.ReturnPipe(p)
		}
	})
}
