package health

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"l4proxy/backend"
	"l4proxy/internal/mailbox"
)

// Target is a backend and the address of its checks, which may have another port than the one that
// serves clients.
type Target struct {
	Backend *backend.Backend
	Addr    net.Addr       // a *net.TCPAddr or a *net.UnixAddr
	Name    string         // the host name of Addr in the configuration; "" if an address is configured
	Health  backend.Health // what earlier checks have found; unknown for a new backend
}

// Group is targets that are checked the same way.
type Group struct {
	Options
	Checker Checker
	Targets []Target // of different backends
}

// Change is a change of one backend's health.
type Change struct {
	Backend  *backend.Backend
	From, To backend.Health
	Err      error // why the last check failed; nil when To is up
	Checks   int   // results since the last change, including the last one
}

// Result is the latest state of a backend's checks.
type Result struct {
	Health backend.Health
	Since  time.Time // of the last change, or when the checks began
	At     time.Time // when the last check ended; zero before that
	Err    error     // of the last check; nil when it passed
}

const (
	// maxTCP bounds the TCP checks under way at once. The check of a dead server lasts for the
	// whole timeout, so there must be room for many if a rack fails.
	maxTCP = 1024
	// maxOther bounds the other checks under way, each on a goroutine.
	maxOther = 256
)

// Monitor runs the checks of all groups. They share one goroutine, and the TCP checks share one
// epoll instance. Groups come, change and go while it runs. Make one with New, and run it once.
type Monitor struct {
	// Trouble, if set before Run, is called when checks cannot be made because this machine has run
	// out of something (descriptors, source ports, memory), which says nothing about a backend. It
	// is called once with the error, and with nil when the trouble is over. It must not block.
	Trouble func(error)

	orders *mailbox.Inbox[func(*runner)]
	ended  chan struct{} // closed by Run
	checks atomic.Uint64 // that have ended
}

// New returns a Monitor without groups.
func New() *Monitor {
	return &Monitor{orders: mailbox.NewInbox[func(*runner)](), ended: make(chan struct{})}
}

// Checks are the checks of one group.
type Checks struct {
	// Changes are the changes of the backends' health, in order.
	Changes *mailbox.Inbox[Change]

	monitor *Monitor
	group   *group
	gone    chan struct{} // closed when the group is removed and its last check has ended

	mu      sync.Mutex
	results map[*backend.Backend]*Result
}

// Add begins to check a group, now or when the Monitor runs.
func (m *Monitor) Add(g Group) *Checks {
	c := &Checks{
		Changes: mailbox.NewInbox[Change](),
		monitor: m,
		gone:    make(chan struct{}),
		results: make(map[*backend.Backend]*Result, len(g.Targets)),
	}
	for _, t := range g.Targets {
		c.results[t.Backend] = &Result{Health: t.Health}
	}
	m.orders.Post(func(r *runner) { c.group = r.add(g, c) })
	return c
}

// Update changes the group. A target that stays keeps its health and its schedule,
// unless the interval becomes shorter than the time to its next check.
func (c *Checks) Update(g Group) {
	c.monitor.orders.Post(func(r *runner) { r.update(c.group, g) })
}

// Stop ends the checks, and returns when the last one has ended. There are no Changes after that.
func (c *Checks) Stop() {
	c.monitor.orders.Post(func(r *runner) { r.remove(c.group) })
	select {
	case <-c.gone:
	case <-c.monitor.ended:
	}
}

// Last returns the latest state of the checks of b, and whether b is checked at all. Any goroutine
// may call it.
func (c *Checks) Last(b *backend.Backend) (Result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if result := c.results[b]; result != nil {
		return *result, true
	}
	return Result{}, false
}

// Descriptors is the most file descriptors that the checks of some groups have open.
func Descriptors(groups []Group) int {
	probed, others := 0, 0
	for _, g := range groups {
		for _, t := range g.Targets {
			if g.addrOf(t) != nil {
				probed++
			} else {
				others++
			}
		}
	}
	n := min(others, maxOther)
	if probed > 0 {
		n += min(probed, maxTCP+maxIdle) + 1 // its epoll instance
	}
	return n
}

// Checks is how many checks have ended. Any goroutine may call it.
func (m *Monitor) Checks() uint64 { return m.checks.Load() }

// Run checks until ctx is done. It returns when everything that it started has stopped.
func (m *Monitor) Run(ctx context.Context) {
	defer close(m.ended)
	newRunner(m).run(ctx)
}
