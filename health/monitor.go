package health

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"l4proxy/backend"
	"l4proxy/internal/mailbox"
	"l4proxy/internal/rawsys"
)

// Target is a backend and the address of its checks, which may have another port than the one that
// serves clients.
type Target struct {
	Backend *backend.Backend
	Addr    net.Addr       // a *net.TCPAddr or a *net.UnixAddr
	Name    string         // the host name of Addr in the configuration; "" if an address is configured
	Health  backend.Health // what earlier checks have found; unknown to start over
}

// Group is targets that are checked the same way.
type Group struct {
	Options
	Checker Checker
	Targets []Target
}

// Change is a change of one backend's health.
type Change struct {
	Backend  *backend.Backend
	From, To backend.Health
	Err      error // why the last check failed; nil when To is up
	Checks   int   // results since the last change, the last one included
}

// Result is what the last checks of a backend have found.
type Result struct {
	Health backend.Health
	Since  time.Time // of the last change, or of the start of Run
	At     time.Time // when the last check ended; zero if none has
	Err    error     // of the last check; nil when it passed
}

const (
	// maxTCP bounds the TCP checks under way at once. The check of a dead server lasts for the
	// whole timeout, so there must be room for many if a rack fails.
	maxTCP = 1024
	// maxOther bounds the other checks under way, each on a goroutine.
	maxOther = 256
)

// Monitor checks groups of targets while it runs. Make one with New, and run it once.
type Monitor struct {
	// Trouble, if set before Run, is called once with the error when checks cannot be made because
	// this machine is out of descriptors, source ports or memory, which does not count against the
	// backends. It is called with nil when checks work again. It is called on the goroutine that
	// calls changed.
	Trouble func(error)

	groups  []Group
	targets []target
	index   map[*backend.Backend]int32
	changed func(Change)

	checks atomic.Uint64 // that have ended

	mu      sync.Mutex
	results []Result // by target
}

// target is what the runner knows of a Target.
type target struct {
	group    int32
	index    int32            // in its group
	probe    int32            // of the check under way; -1 if there is none, or if the prober does not make it
	stood    int64            // runner.stood when the check under way began
	repeats  int              // failures in a row that did not count; see runner.conclude
	addr     *rawsys.Sockaddr // for the prober; nil: the check has a goroutine
	status   Status
	schedule Schedule
}

// New returns a Monitor of groups. A backend may be in one of them, once. changed is called for
// each change of a backend's health, in order, on one goroutine. Checks continue while it runs.
func New(groups []Group, changed func(Change)) *Monitor {
	m := &Monitor{groups: make([]Group, len(groups)), changed: changed, index: map[*backend.Backend]int32{}}
	for g, group := range groups {
		group.Options = group.withDefaults()
		m.groups[g] = group
		_, byProber := group.Checker.(tcp)
		for i, t := range group.Targets {
			m.index[t.Backend] = int32(len(m.targets))
			own := target{group: int32(g), index: int32(i), probe: -1, status: Status{Health: t.Health}}
			if byProber {
				own.addr = sockaddrOf(t.Addr)
			}
			m.targets = append(m.targets, own)
			m.results = append(m.results, Result{Health: t.Health})
		}
	}
	return m
}

// Descriptors is the most file descriptors that the Monitor has open.
func (m *Monitor) Descriptors() int {
	probed := 0
	for i := range m.targets {
		if m.targets[i].addr != nil {
			probed++
		}
	}
	n := min(len(m.targets)-probed, maxOther)
	if probed > 0 {
		n += min(probed, maxTCP+maxIdle) + 1 // its epoll instance
	}
	return n
}

// Checks is how many checks have ended. Any goroutine may call it.
func (m *Monitor) Checks() uint64 { return m.checks.Load() }

// Last returns what the last checks of b have found, and whether b is checked at all. Any goroutine
// may call it.
func (m *Monitor) Last(b *backend.Backend) (Result, bool) {
	i, known := m.index[b]
	if !known {
		return Result{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.results[i], true
}

// Run checks until ctx is done. It returns when all that it has started has stopped, and changed
// has been called for every change.
func (m *Monitor) Run(ctx context.Context) {
	var notices mailbox.Box[func()]
	news, over := make(chan struct{}, 1), make(chan struct{})
	var teller sync.WaitGroup
	teller.Go(func() {
		for last := false; !last; {
			select {
			case <-news:
			case <-over:
				last = true
			}
			notices.TakeAll(func(notice func()) { notice() })
		}
	})
	notify := func(notice func()) {
		if notices.Post(notice) {
			select {
			case news <- struct{}{}:
			default: // the last one has not been received yet
			}
		}
	}
	newRunner(m, notify).run(ctx)
	close(over)
	teller.Wait()
}
