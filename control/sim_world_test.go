package control

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
)

// simulation is the life of one pool, in which everything that happens by chance is drawn from the
// seed.
type simulation struct {
	simSetup
	loop     simLoop
	rand     *rand.Rand
	members  []balancer.Member
	balancer *balancer.Balancer
	twin     *twin

	truth    []simTruth   // of servers
	targets  []*simTarget // the servers in the pool, which are checked; nil for those that are not
	relaying [][]*simDial
	ticking  bool
	idle     int64 // since when the first in the queue could be served; 0: it could not
	clients  int   // that are here
	mended   bool  // all faults
	closed   bool  // no more clients come

	start   int64
	tally   map[string]int
	tracing bool
	lines   []string
}

// simulate runs the simulation of a seed. It returns the story, if that is wanted, and the rule
// that did not hold, if there is one. It counts in tally what has happened.
func simulate(seed uint64, tally map[string]int, tracing bool) (story string, violation error) {
	s := &simulation{tally: tally, tracing: tracing, rand: rand.New(rand.NewPCG(seed, 0))}
	defer func() {
		if r := recover(); r != nil {
			if v, ok := r.(simViolation); ok {
				violation = v
			} else {
				violation = fmt.Errorf("%v\n%s", r, debug.Stack())
			}
		}
		story = strings.Join(s.lines, "\n")
	}()
	s.begin()
	s.run()
	return "", nil
}

// begin makes the pool and its surroundings.
func (s *simulation) begin() {
	s.start = 1 + s.rand.Int64N(int64(time.Hour))
	s.loop.now = s.start
	s.simSetup, s.members = drawSetup(s.rand)
	s.twin = newTwin(s.options, s.members)
	n := len(s.members)
	s.truth, s.targets, s.relaying = make([]simTruth, n), make([]*simTarget, n), make([][]*simDial, n)
	var err error
	if s.balancer, err = balancer.New(s.members, s.options); err != nil {
		panic(errors.New("a setup that cannot be: " + err.Error()))
	}
	s.balancer.Observe(s.notify)
	if s.tracing {
		s.describe()
	}
	for i := range s.members {
		if s.chance(0.2) {
			s.become(i, simTruth(s.rand.IntN(5)))
		}
		s.change(i)
		s.startChecks(i)
	}
	s.nextUpdate()
	s.drawDrains()
	s.nextDrain()
	s.nextArrivals()
	s.loop.after(s.trouble, s.mend)
}

// nextArrivals has clients come, one after another or in crowds, and after the trouble more rarely.
func (s *simulation) nextArrivals() {
	mean, crowd := s.arrivals, 1
	switch {
	case s.mended:
		mean = 500 * time.Millisecond
	case s.bursts && s.chance(0.1):
		crowd = 10
	}
	s.loop.after(s.around(mean), func() {
		if s.closed {
			return
		}
		for range crowd {
			s.arrive()
		}
		s.nextArrivals()
	})
}

var simEventNames = map[balancer.EventKind]string{
	balancer.BackedOff: "backed off",
	balancer.Recovered: "came back",
	balancer.Ejected:   "ejected",
	balancer.Returned:  "returned",
}

// notify is the observer of the balancer.
func (s *simulation) notify(e balancer.Event) {
	s.wantTicks()
	if e.Backend == nil {
		return
	}
	b := s.twin.of(e.Backend)
	flag, to := &b.reportedBackoff, e.Kind == balancer.BackedOff
	if e.Kind == balancer.Ejected || e.Kind == balancer.Returned {
		flag, to = &b.reportedEjected, e.Kind == balancer.Ejected
	}
	if *flag == to {
		s.violated(ruleReported, "that %s %s was reported twice: %s", e.Backend.Address, simEventNames[e.Kind], s)
	}
	*flag = to
	s.happened(simEventNames[e.Kind])
	if o := s.options.Outlier; e.Kind == balancer.Ejected && s.twin.ejected()*100 > o.MaxEjected*s.twin.inService() {
		s.violated(ruleEjected, "%d of %d are ejected: %s", s.twin.ejected(), len(s.twin.backends), s)
	}
	if s.tracing {
		s.trace("%s %s", e.Backend.Address, simEventNames[e.Kind])
	}
}

// number is which backend it is, from 0.
func (s *simulation) number(b *backend.Backend) int { return s.twin.of(b).number }

// wantTicks starts the ticks of the balancer, until it needs none any more.
func (s *simulation) wantTicks() {
	if !s.ticking {
		s.ticking = true
		s.loop.after(tickEvery, s.tick)
	}
}

func (s *simulation) tick() {
	now := s.loop.now
	s.twin.tick(now)
	again := s.balancer.Tick(now)
	for _, k := range s.twin.queue {
		k.pausing = false
	}
	s.checkShares()
	if s.ticking = again; again {
		s.loop.after(tickEvery, s.tick)
	}
}

// simHappenings is what a simulation of many seeds must not do without.
var simHappenings = []string{
	"backed off", "came back", "ejected", "returned", "went down", "came up", "panicked", "started slowly",
	"picked as a probe", "picked as the last resort", "picked of a later tier", "picked in panic",
	"waited", "granted", "granted to a client that had left", "left the queue", "found the queue full", "found no backend",
	"failed on all", "joined", "left", "left with connections", "returned to the pool", "adopted beyond its limit",
	"granted by an update", "emptied the pool", "changed the policy", "ended ejections by an update",
	"drained with connections", "drained all", "granted by the end of a drain",
	"silence did not count", "hedged", "hedged well", "hedged when the first failed",
}

func (s *simulation) happened(what string) { s.tally[what]++ }

func (s *simulation) time(at int64) string {
	if at == 0 {
		return "0"
	}
	return fmt.Sprintf("%.4fs", time.Duration(at-s.start).Seconds())
}

func (s *simulation) trace(format string, args ...any) {
	s.lines = append(s.lines, s.time(s.loop.now)+"  "+fmt.Sprintf(format, args...))
}

// describe begins the trace with the setup.
func (s *simulation) describe() {
	o := s.options
	s.trace("policy %s, slow start %v, panic at %d %%", o.Policy, o.SlowStart, o.PanicThreshold)
	s.trace("attempts %d, each %v, hedge %v", s.attempts, s.connectTimeout, s.hedge)
	s.trace("queue %d for %v, for any %t", o.Queue, s.queueTimeout, s.waitForAny)
	if o.Outlier != nil {
		s.trace("outlier %+v", *o.Outlier)
	}
	if s.checked {
		s.trace("checks %+v, of an answer %t", s.checks, s.expects)
	}
	for _, b := range s.twin.backends {
		s.trace("%s: weight %d, tier %d (priority %d), at most %d", b.real.Address, b.real.Weight, b.tier, b.real.Priority,
			b.real.MaxConnections)
	}
}

// String is what is expected of the pool at this moment.
func (s *simulation) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "at %s, expected: %d wait, panics %t", s.time(s.loop.now), len(s.twin.queue), s.twin.panics())
	for _, b := range s.twin.backends {
		fmt.Fprintf(&text, "\n  b%d: %s (in truth it %s), tier %d, %d of %d connections", b.number, b.health, s.truth[b.number], b.tier,
			b.active, b.real.MaxConnections)
		if b.failures > 0 {
			fmt.Fprintf(&text, ", backoff %d until %s (probing %t)", b.failures, s.time(b.until), b.probing)
		}
		if b.drained {
			text.WriteString(", drained")
		}
		if b.ejectedUntil != 0 {
			fmt.Fprintf(&text, ", ejected until %s", s.time(b.ejectedUntil))
		}
		if b.suspicion > 0 {
			fmt.Fprintf(&text, ", %d failures", b.suspicion)
		}
	}
	return text.String()
}
