package chaos

import (
	"math/rand/v2"
	"time"
)

// A plot is a kind of ending of a whole connection. One side may abort; with a clash, both do.
const (
	plotClean     = "clean"
	plotReset     = "reset"
	plotEarly     = "early close"
	plotUnread    = "close with bytes unread"
	plotLateReset = "reset after the end of the stream"
	plotClash     = "both abort"
	plotUrgent    = "urgent" // not a plot, but can be left out like one
)

var plots = []struct {
	name  string
	share int
}{{plotClean, 42}, {plotReset, 22}, {plotEarly, 12}, {plotUnread, 10}, {plotLateReset, 8}, {plotClash, 6}}

// turn is a message of one side.
type turn struct {
	side   int
	n      int64
	awaits bool // sent only when all earlier turns of the other side have been received
	urgent int  // urgent bytes in it
}

// generator makes a script. Turns have one order for both sides, and each waits only for earlier
// ones. So every wait ends, whichever later turns are dropped.
type generator struct {
	*rand.Rand
	s     *script
	turns []turn
	bulk  bool
}

// generate makes the script id of a seed, always the same one, without the plots in without.
func generate(seed, id uint64, without map[string]bool) *script {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, id)), s: &script{seed: seed, id: id}}
	g.s.plot = g.choosePlot()
	for without[g.s.plot] {
		g.s.plot = g.choosePlot()
	}
	for side := range g.s.families {
		g.s.families[side] = [...]family{tcp4, tcp4, tcp4, tcp6, local, local}[g.IntN(6)]
	}
	if g.s.plot == plotLateReset && (g.s.families[client] == local || g.s.families[server] == local) {
		g.s.families = [2]family{tcp4, tcp6} // unix sockets have no reset after the end
	}
	g.chooseTurns()
	if !without[plotUrgent] {
		g.chooseUrgent()
	}
	ending := g.chooseEndings()
	g.compile()
	ending()
	g.chooseReading()
	return g.s
}

func (g *generator) choosePlot() string {
	at := g.IntN(100)
	for _, p := range plots {
		if at -= p.share; at < 0 {
			return p.name
		}
	}
	return plotClean
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// size returns a number of bytes; small and large numbers are equally likely.
func (g *generator) size(most int) int64 {
	n := 1
	for n < most && g.chance(85) {
		n *= 2 + g.IntN(3)
	}
	n = min(n, most)
	return int64(n/2 + g.IntN(n/2+1) + 1)
}

func (g *generator) chooseTurns() {
	g.bulk = g.chance(10)
	for range 1 + g.IntN(6) {
		most := 40 << 10
		if g.chance(10) {
			most = 400 << 10
		}
		g.turns = append(g.turns, turn{side: g.IntN(2), n: g.size(most), awaits: g.chance(60)})
	}
	if g.bulk {
		g.turns[g.IntN(len(g.turns))].n = 1<<20 + g.Int64N(3<<20)
	}
}

// chooseEndings chooses how both sides end and drops the turns that then cannot happen. The
// returned function adds what depends on the compiled steps.
func (g *generator) chooseEndings() func() {
	x := g.IntN(2) // the side that aborts
	ends := func(e ending) { g.s.parts[x].ending = e }
	g.s.parts[1-x].ending = ending(g.IntN(2)) // finFirst, finLast
	switch g.s.plot {
	case plotClean:
		if g.s.parts[1-x].ending == finLast {
			ends([]ending{finFirst, closeDone}[g.IntN(2)])
		} else {
			ends(ending(g.IntN(3)))
		}
		return func() {
			if g.s.parts[x].ending == closeDone {
				g.await(x, g.s.parts[1-x].total())
			} else if g.s.parts[x].ending == finFirst && g.chance(30) {
				g.answerLast(1 - x)
			}
		}
	case plotReset, plotEarly:
		ends(g.abortOf(x))
		return g.cut(x)
	case plotUnread:
		ends(closeUnread)
		return g.cut(x)
	case plotLateReset:
		ends(resetLate)
		g.s.parts[1-x].ending = watch
		return func() {
			if g.chance(60) {
				g.answerLast(1 - x)
			}
			g.s.parts[x].await = g.s.parts[1-x].total()
			if g.chance(30) {
				g.s.parts[x].await = g.Int64N(g.s.parts[x].await + 1)
			}
		}
	default:
		g.s.parts[client].ending, g.s.parts[server].ending = g.abortOf(client), g.abortOf(server)
		return func() {}
	}
}

// abortOf returns the ending of a side that aborts, from the plot's name; a unix socket can only be
// closed.
func (g *generator) abortOf(side int) ending {
	if g.s.families[side] == local || g.s.plot == plotEarly || g.s.plot == plotClash && g.chance(30) {
		return closeEarly
	}
	return resetNow
}

// cut makes side x end in the middle of the turns: its later turns are dropped.
func (g *generator) cut(x int) func() {
	at := g.IntN(len(g.turns) + 1)
	unread := g.s.parts[x].ending == closeUnread
	kept, before, next := g.turns[:0:0], int64(0), int64(0)
	for i, t := range g.turns {
		if i >= at && t.side == x {
			continue
		}
		kept = append(kept, t)
		if t.side == 1-x && i < at {
			before += t.n + int64(t.urgent)
		} else if t.side == 1-x && next == 0 {
			next = t.n
		}
	}
	if unread && next == 0 {
		next = g.size(20 << 10)
		kept = append(kept, turn{side: 1 - x, n: next, awaits: g.chance(50)})
	}
	g.turns = kept
	if unread {
		g.s.parts[x].await = before + g.Int64N(next)
	}
	return func() {
		if !unread && g.chance(50) { // in the middle of what the other side sends
			g.await(x, min(before+g.Int64N(next+1), g.s.parts[1-x].total()))
		}
	}
}

func (g *generator) chooseUrgent() {
	if !g.chance(8) {
		return
	}
	for i := range g.turns {
		if g.chance(60) {
			g.turns[i].urgent = 1 + g.IntN(2)
		}
	}
}

// await makes a side wait, after all its other steps, until it has received n bytes.
func (g *generator) await(side int, n int64) {
	if n > 0 {
		g.s.parts[side].steps = append(g.s.parts[side].steps, step{op: opAwait, n: n})
	}
}

// answerLast makes a side send one more message when the other's stream has ended.
func (g *generator) answerLast(side int) {
	n := g.size(30 << 10)
	p := &g.s.parts[side]
	p.steps = append(p.steps, step{op: opAwaitEnd}, step{op: opSend, n: n, size: g.writeSize(n)})
}

// compile makes steps of the turns.
func (g *generator) compile() {
	var sent [2]int64
	holder := -1
	if g.chance(15) {
		holder = g.IntN(2)
		if g.s.parts[1-holder].ending == closeUnread { // it would wait for bytes of the holder, which waits for it
			holder = -1
		}
	}
	for _, t := range g.turns {
		p := &g.s.parts[t.side]
		if other := sent[1-t.side]; t.awaits && other > 0 {
			p.steps = append(p.steps, step{op: opAwait, n: other})
		}
		if g.chance(15) {
			p.steps = append(p.steps, step{op: opPause, pause: time.Duration(g.IntN(3000)) * time.Microsecond})
		}
		for rest := t.n; rest > 0; {
			n := rest
			if t.urgent > 0 {
				n = 1 + g.Int64N(rest)
			}
			p.steps = append(p.steps, step{op: opSend, n: n, size: g.writeSize(n)})
			if rest -= n; t.urgent > 0 {
				t.urgent--
				p.steps = append(p.steps, step{op: opUrgent})
				sent[t.side]++
			}
		}
		for ; t.urgent > 0; t.urgent-- {
			p.steps = append(p.steps, step{op: opUrgent})
			sent[t.side]++
		}
		sent[t.side] += t.n
		if t.side == holder && g.chance(50) {
			p.reading.holdAt, p.reading.holdUntil = sent[1-t.side], len(p.steps)
			holder = -1
		}
	}
}

// writeSize is such that a message takes at most 64 writes.
func (g *generator) writeSize(n int64) int {
	return int(min(n, max(n/64, g.size(256<<10))))
}

func (g *generator) chooseReading() {
	// At most one side has small buffers, and only if nothing is reset: a socket whose buffer
	// overflows may ignore a reset as one that is not meant for it (RFC 5961), and the kernel does
	// not always send a challenge.
	small := g.IntN(8)
	for side := range 2 {
		p := &g.s.parts[side]
		comes := g.s.parts[1-side].total()
		p.reading.size = int(max(comes/64, g.size(64<<10)))
		p.reading.size = min(p.reading.size, 64<<10)
		if g.chance(25) {
			p.reading.every = max(1, int(comes)/p.reading.size/(1+g.IntN(12)))
			p.reading.pause = time.Duration(g.IntN(2500)) * time.Microsecond
		}
		if small == side && !g.bulk && g.s.plot == plotClean {
			p.buffer = 8 << 10 << g.IntN(3)
		}
	}
}
