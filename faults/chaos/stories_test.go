package chaos

import (
	"slices"
	"testing"
	"time"

	"l4proxy/internal/testenv"
)

// story is a handwritten script about an ending that was once lost. Every second time, client and
// backend swap parts.
type story struct {
	name     string
	times    int
	families [][2]family
	parts    [2]part
}

var (
	tcpTCP   = [2]family{tcp4, tcp4}
	tcp6TCP6 = [2]family{tcp6, tcp6}
	tcpUnix  = [2]family{tcp4, local}
	unixTCP  = [2]family{local, tcp4}
	unixUnix = [2]family{local, local}

	all       = [][2]family{tcpTCP, tcp6TCP6, tcpUnix, unixTCP, unixUnix}
	firstTCP  = [][2]family{tcpTCP, tcp6TCP6, tcpUnix} // unix sockets have no reset
	firstUnix = [][2]family{unixTCP, unixUnix}
	bothTCP   = [][2]family{tcpTCP, tcp6TCP6}
)

const megabyte = 1 << 20

func send(n int64, size int) step { return step{op: opSend, n: n, size: size} }
func await(n int64) step          { return step{op: opAwait, n: n} }

var (
	urgent   = step{op: opUrgent}
	awaitEnd = step{op: opAwaitEnd}
	// later is longer than a proxy may wait for bytes to arrive before a reset.
	later = step{op: opPause, pause: 2500 * time.Millisecond}
	// slowly is a reader that holds the other side back.
	slowly = reading{size: 32 << 10, every: 8, pause: time.Millisecond}
)

var stories = []story{
	{"resets as soon as it is connected", 400, firstTCP, [2]part{
		{steps: []step{send(8, 8)}, ending: resetNow},
		{ending: finLast},
	}},
	{"closes as soon as it is connected", 400, all, [2]part{
		{steps: []step{send(8, 8)}, ending: closeEarly},
		{ending: finLast},
	}},
	{"resets what a slow reader holds up", 60, firstTCP, [2]part{
		{steps: []step{send(3*megabyte, 65536)}, ending: resetNow},
		{reading: slowly, ending: finLast},
	}},
	{"resets while the other side sends", 200, firstTCP, [2]part{
		{ending: resetNow},
		{steps: []step{send(3*megabyte, 65536)}, ending: finLast},
	}},
	{"resets in the middle of what it receives", 200, firstTCP, [2]part{
		{steps: []step{await(megabyte)}, ending: resetNow},
		{steps: []step{send(3*megabyte, 65536)}, ending: finFirst},
	}},
	{"answers and closes", 1000, all, [2]part{
		{steps: []step{await(100), send(20000, 3000)}, ending: closeDone},
		{steps: []step{send(100, 100)}, ending: finLast},
	}},
	{"sends and closes, of a unix socket", 1000, firstUnix, [2]part{
		{steps: []step{send(20000, 3000)}, ending: closeEarly},
		{ending: finLast},
	}},
	{"closes after more messages than a loop can be woken for at once", 1000, all, [2]part{
		{steps: []step{send(450, 1)}, ending: closeEarly},
		{ending: finLast},
	}},
	{"ends its stream and is answered", 500, all, [2]part{
		{steps: []step{send(20000, 3000)}, ending: finFirst},
		{steps: []step{awaitEnd, send(100, 100)}, ending: finLast},
	}},
	{"closes long before the other side reads", 20, all, [2]part{
		{steps: []step{send(2*megabyte, 65536)}, ending: closeEarly},
		{steps: []step{later}, reading: reading{holdUntil: 1}, ending: finLast},
	}},
	{"resets after the end of its stream", 100, bothTCP, [2]part{
		{steps: []step{send(10, 10)}, ending: resetLate, await: 1},
		{steps: []step{awaitEnd, send(1, 1)}, ending: watch},
	}},
	{"sends urgent bytes", 400, all, [2]part{
		{steps: []step{urgent, send(10, 10), urgent, send(10, 1), urgent, urgent}, ending: finFirst},
		{steps: []step{awaitEnd, send(1, 1)}, ending: finLast},
	}},
	{"waits for an answer to urgent bytes", 400, all, [2]part{
		{steps: []step{send(9, 9), urgent, await(10), urgent, await(20)}, ending: finFirst},
		{steps: []step{await(10), send(10, 10), await(11), send(10, 10)}, ending: finLast},
	}},
	{"sends urgent bytes in bulk", 40, all, [2]part{
		{steps: []step{send(2*megabyte, 65536), urgent, send(megabyte, 65536), urgent}, ending: finFirst},
		{reading: slowly, ending: finLast},
	}},
}

// TestFaultStories plays each story, many times, with each engine, and more often with a larger
// COUNT.
func TestFaultStories(t *testing.T) {
	testenv.NeedSuite(t, "faults")
	for _, engine := range []string{"io_uring", "epoll"} {
		for _, s := range stories {
			t.Run(engine+"/"+s.name, func(t *testing.T) {
				if engine == "io_uring" {
					testenv.NeedIOURing(t)
				}
				chaos(t, engine, 2, concurrentStories, s.script).print(t, "L4PROXY_CHAOS_COUNT=100000")
			})
		}
	}
}

// script is the story as the i-th script of the test, nil after the last.
func (s story) script(i uint64) *script {
	if i >= uint64(s.times)*max(count, usual)/usual {
		return nil
	}
	script := &script{id: i, plot: s.name, families: s.families[int(i/2)%len(s.families)], parts: s.parts}
	for side := range script.parts {
		p := &script.parts[side]
		if p.reading.size == 0 {
			p.reading.size = 64 << 10
		}
		if p.ending == closeDone {
			p.steps = append(slices.Clone(p.steps), await(script.parts[1-side].total()))
		}
	}
	if i%2 == 1 {
		slices.Reverse(script.parts[:])
		slices.Reverse(script.families[:])
	}
	return script
}
