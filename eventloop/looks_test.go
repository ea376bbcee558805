package eventloop

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// TestLooks checks the time up to which timers may expire after waits of all kinds.
func TestLooks(t *testing.T) {
	const ms = int64(time.Millisecond)
	type wait struct {
		ends  int64 // the clock after it, ms
		asked int64 // ms; -1: forever
		all   bool
		upTo  int64 // ms, afterwards
	}
	for name, waits := range map[string][]wait{
		"busy":             {{1, 10, true, 0}, {2, 10, false, 1}, {3, 10, true, 2}},
		"a timer is due":   {{10, 10, true, 0}, {10, 0, true, 10}},
		"a long quiet":     {{5000, 5000, true, 0}, {5000, 0, true, 5000}},
		"no timer":         {{60_000, -1, true, 0}, {60_001, 0, true, 60_000}},
		"a pause":          {{170, 10, true, 0}, {189, 20, true, 0}, {190, 1, true, 189}},
		"a long pause":     {{4000, 10, true, 0}, {4240, 250, true, 0}, {4251, 10, true, 4240}},
		"much has come":    {{4000, 10, false, 0}, {4251, 20, false, 0}, {4329, 0, false, 0}, {4331, 0, false, 4329}},
		"it comes at last": {{4000, 10, false, 0}, {4251, 20, false, 0}, {4252, 0, true, 4251}},
		"again and again":  {{100, 0, true, 0}, {200, 0, true, 100}, {300, 0, true, 100}, {400, 0, true, 300}},
	} {
		k, before := looks{}, int64(0)
		for i, w := range waits {
			k.done(before, w.ends*ms, time.Duration(w.asked*ms), w.all)
			if k.upTo != w.upTo*ms {
				t.Errorf("%s: after wait %d, timers expire up to %v, want %d ms", name, i, time.Duration(k.upTo), w.upTo)
			}
			before = w.ends * ms
		}
	}
}

// loopPauses pauses a loop. Meanwhile, a byte comes for each of more sockets than one wait returns,
// and all their timers become due.
func loopPauses(t *testing.T, d *driver) {
	const sockets = eventsAtATime + 44
	peers := make([]int, sockets)
	received, early, expired := 0, 0, make(chan struct{})
	d.do(func() {
		d.onExpire = func(uint32) {
			if received < sockets && early == 0 {
				early = sockets - received
			}
			if expired != nil {
				close(expired)
				expired = nil
			}
		}
	})
	over := expired
	for i := range peers {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|d.loop.SocketFlags(), 0)
		if err != nil {
			t.Fatal(err)
		}
		peers[i] = fds[1]
		t.Cleanup(func() { unix.Close(fds[1]) })
		s := d.attach(fds[0])
		d.do(func() {
			d.hooks[s] = func(c *Completion) {
				received++
				d.loop.Release(c.Buffer)
			}
			d.loop.Recv(s)
			d.loop.SetTimer(uint32(i), d.loop.Now()+int64(time.Hour))
		})
	}
	d.do(func() {
		d.loop.clock = func() int64 { return rawsys.Monotonic() + int64(2*time.Hour) }
		for _, peer := range peers {
			_, _ = unix.Write(peer, []byte{1})
		}
	})
	select {
	case <-over:
	case <-time.After(patience):
		t.Fatal("no timer expires")
	}
	d.do(func() {
		if early != 0 {
			t.Errorf("a timer expired before %d of %d sockets had their bytes", early, sockets)
		}
	})
}
