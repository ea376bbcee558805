package chaos

import (
	"testing"
	"time"

	"l4proxy/internal/testenv"
)

// story is a script written by hand, about endings that were once lost.
type story struct {
	name     string
	times    int
	families [][2]family
	client   part
	backend  part
}

var (
	tcpTCP   = [2]family{tcp4, tcp4}
	tcp6TCP6 = [2]family{tcp6, tcp6}
	tcpUnix  = [2]family{tcp4, local}
	unixTCP  = [2]family{local, tcp4}
	unixUnix = [2]family{local, local}
)

const megabyte = 1 << 20

func send(n int64, size int) step { return step{op: opSend, n: n, size: size} }
func await(n int64) step          { return step{op: opAwait, n: n} }

// slowly is a reader that holds up the other side.
var slowly = reading{size: 32 << 10, every: 8, pause: time.Millisecond}

// later is longer than a proxy may wait for bytes to arrive before a reset.
var later = step{op: opPause, pause: 2500 * time.Millisecond}

var stories = []story{
	{"client resets before it is accepted", 200, [][2]family{tcpTCP, tcp6TCP6, tcpUnix},
		part{steps: []step{send(8, 8)}, ending: resetNow},
		part{ending: finLast}},
	{"client closes before it is accepted", 200, [][2]family{tcpTCP, tcpUnix, unixTCP, unixUnix},
		part{steps: []step{send(8, 8)}, ending: closeEarly},
		part{ending: finLast}},
	{"client resets an upload that a slow backend holds up", 30, [][2]family{tcpTCP, tcp6TCP6, tcpUnix},
		part{steps: []step{send(3*megabyte, 65536)}, ending: resetNow},
		part{reading: slowly, ending: finLast}},
	{"backend resets a download that a slow client holds up", 30, [][2]family{tcpTCP, tcp6TCP6, unixTCP},
		part{reading: slowly, ending: finLast},
		part{steps: []step{send(3*megabyte, 65536)}, ending: resetNow}},
	{"backend resets while the client uploads", 100, [][2]family{tcpTCP, tcp6TCP6, unixTCP},
		part{steps: []step{send(3*megabyte, 65536)}, ending: finLast},
		part{ending: resetNow}},
	{"client resets while the backend sends", 100, [][2]family{tcpTCP, tcp6TCP6, tcpUnix},
		part{steps: []step{await(megabyte)}, ending: resetNow},
		part{steps: []step{send(3*megabyte, 65536)}, ending: finFirst}},
	{"backend answers and closes", 500, [][2]family{tcpUnix, unixUnix, tcpTCP, unixTCP},
		part{steps: []step{send(100, 100)}, ending: finLast},
		part{steps: []step{await(100), send(20000, 3000)}, ending: closeDone}},
	{"client sends and closes", 500, [][2]family{unixTCP, unixUnix, tcpTCP, tcpUnix},
		part{steps: []step{send(20000, 3000)}, ending: finFirst},
		part{steps: []step{{op: opAwaitEnd}, send(100, 100)}, ending: finLast}},
	{"client sends and closes, and the backend reads later", 16, [][2]family{unixTCP, unixUnix, tcpTCP, tcpUnix},
		part{steps: []step{send(2*megabyte, 65536)}, ending: closeEarly},
		part{steps: []step{later}, reading: reading{holdUntil: 1}, ending: finLast}},
	{"backend sends and closes, and the client reads later", 16, [][2]family{tcpUnix, unixUnix, tcpTCP, unixTCP},
		part{steps: []step{later}, reading: reading{holdUntil: 1}, ending: finLast},
		part{steps: []step{send(2*megabyte, 65536)}, ending: closeEarly}},
	{"client resets after the end of its stream", 50, [][2]family{tcpTCP, tcp6TCP6},
		part{steps: []step{send(10, 10)}, ending: resetLate, await: 1},
		part{steps: []step{{op: opAwaitEnd}, send(1, 1)}, ending: watch}},
	{"backend resets after the end of its stream", 50, [][2]family{tcpTCP, tcp6TCP6},
		part{steps: []step{{op: opAwaitEnd}, send(1, 1)}, ending: watch},
		part{steps: []step{send(10, 10)}, ending: resetLate, await: 1}},
	{"client sends urgent bytes", 200, [][2]family{tcpTCP, tcp6TCP6, tcpUnix},
		part{steps: []step{send(10, 10), {op: opUrgent}, send(10, 1), {op: opUrgent}, {op: opUrgent}}, ending: finFirst},
		part{steps: []step{{op: opAwaitEnd}, send(1, 1)}, ending: finLast}},
	{"backend sends urgent bytes", 200, [][2]family{tcpTCP, tcp6TCP6, unixTCP},
		part{steps: []step{send(1, 1)}, ending: finLast},
		part{steps: []step{await(1), {op: opUrgent}, send(10, 10), {op: opUrgent}, send(10, 1)}, ending: finFirst}},
	{"urgent bytes in bulk", 20, [][2]family{tcpTCP, tcp6TCP6, tcpUnix},
		part{steps: []step{send(2*megabyte, 65536), {op: opUrgent}, send(megabyte, 65536), {op: opUrgent}}, ending: finFirst},
		part{reading: slowly, ending: finLast}},
}

// TestFaultStories plays each story, many times, with each engine, and more often with a larger COUNT.
func TestFaultStories(t *testing.T) {
	testenv.NeedSuite(t, "faults")
	for _, engine := range []string{"io_uring", "epoll"} {
		for _, s := range stories {
			t.Run(engine+"/"+s.name, func(t *testing.T) {
				if engine == "io_uring" {
					testenv.NeedIOURing(t)
				}
				chaos(t, engine, 2, s.script)
			})
		}
	}
}

// script is the story as the i-th script of the test, nil after the last.
func (s story) script(i uint64) *script {
	if i >= uint64(s.times)*max(count, usual)/usual {
		return nil
	}
	script := &script{id: i, plot: s.name, families: s.families[int(i)%len(s.families)], parts: [2]part{s.client, s.backend}}
	for side := range script.parts {
		if r := &script.parts[side].reading; r.size == 0 {
			r.size = 64 << 10
		}
		if c := &script.parts[side]; c.ending == closeDone {
			c.steps = append(c.steps[:len(c.steps):len(c.steps)], await(script.parts[1-side].total()))
		}
	}
	return script
}
