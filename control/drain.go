package control

import (
	"errors"
	"sync/atomic"
	"time"

	"l4proxy/backend"
	"l4proxy/proxy"
)

// ErrUnknown is wrapped by errors about a listener, a pool or a backend that does not exist.
var ErrUnknown = errors.New("unknown")

// DrainOptions say what happens to the connections of what is drained.
type DrainOptions struct {
	// Timeout is when those that are left are ended. With 0, connections are left alone.
	Timeout time.Duration
	// Spread is the period over which connections are ended when they are quiet; 0 means Timeout.
	Spread time.Duration
}

// Drain describes a listener or a backend that an operator has drained.
type Drain struct {
	Listener string `json:"listener,omitempty"`
	Pool     string `json:"pool,omitempty"`
	// Backend is the address that the operator gave.
	Backend string `json:"backend,omitempty"`
	// State is "drain", or "down" for a backend that was set down.
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// Deadline is when the connections that are left are ended; nil means never.
	Deadline *time.Time `json:"deadline,omitempty"`
	// Connections are open now. Before were open when the drain began, and Closed were still open
	// at the deadline.
	Connections int64  `json:"connections"`
	Before      int64  `json:"before"`
	Closed      uint64 `json:"closed"`
}

// drain is a Drain that is in effect.
type drain struct {
	admin    backend.Admin // never AdminUp
	name     string        // of a backend: its address as configured
	since    time.Time
	deadline *time.Time
	before   int64
	closed   *atomic.Uint64
	over     *atomic.Bool // cancels the ending of connections
	gone     time.Time    // when what it drains left the configuration; zero if it has not
}

// rollbackTime is how long a drain is remembered when its listener or backend has left the
// configuration: a reload that is rolled back must not put it into service.
const rollbackTime = 5 * time.Minute

// leave notes that what it drains has left the configuration. on_removed says what happens to its
// connections now; those of a listener are left alone.
func (d *drain) leave() {
	d.over.Store(true)
	d.gone = time.Now()
}

// comeBack notes that what it drained is back. The deadline counts again.
func (d *drain) comeBack() { d.gone, d.over = time.Time{}, new(atomic.Bool) }

// left are the options with the time that is left until the deadline.
func (d *drain) left() DrainOptions {
	if d.deadline == nil {
		return DrainOptions{}
	}
	return DrainOptions{Timeout: max(time.Until(*d.deadline), time.Millisecond)}
}

// lapsed reports whether it left the configuration too long ago.
func (d *drain) lapsed() bool { return !d.gone.IsZero() && time.Since(d.gone) >= rollbackTime }

func newDrain(admin backend.Admin, before int64, o DrainOptions) *drain {
	d := &drain{admin: admin, since: time.Now(), before: before, closed: new(atomic.Uint64), over: new(atomic.Bool)}
	if o.Timeout > 0 {
		at := d.since.Add(o.Timeout)
		d.deadline = &at
	}
	return d
}

// ending returns how to end connections for the drain; ok is false if they are left alone.
func (d *drain) ending(o DrainOptions) (g proxy.GentleEnd, ok bool) {
	if o.Timeout <= 0 {
		return g, false
	}
	g = proxy.GentleEnd{Timeout: o.Timeout, Spread: o.Spread, Cancelled: d.over.Load, Closed: d.closed}
	if g.Spread <= 0 || g.Spread > g.Timeout {
		g.Spread = g.Timeout
	}
	return g, true
}

func (d *drain) describe() Drain {
	return Drain{State: d.admin.String(), Since: d.since, Deadline: d.deadline, Before: d.before, Closed: d.closed.Load()}
}

// drains are those in effect. They are kept by name, so that they outlive a configuration.
type drains struct {
	listeners map[string]*drain
	backends  map[string]map[string]*drain // by pool and address
}

func newDrains() drains {
	return drains{listeners: make(map[string]*drain), backends: make(map[string]map[string]*drain)}
}

// find returns the drain that a backend is under, nil if there is none. Its own address counts
// before the host name that has it.
func (d *drains) find(pool string, key BackendKey) *drain {
	for _, address := range []string{key.Endpoint.String(), key.Address} {
		if drain := d.backends[pool][address]; drain != nil && !drain.lapsed() {
			return drain
		}
	}
	return nil
}

// of returns what an operator has set a backend to.
func (d *drains) of(pool string, key BackendKey) backend.Admin {
	if drain := d.find(pool, key); drain != nil {
		return drain.admin
	}
	return backend.AdminUp
}

func (e Endpoint) String() string {
	if e.Path != "" {
		return "unix:" + e.Path
	}
	return e.TCP.String()
}

// matches reports whether an address is that of the backend, as configured or as resolved.
func (k BackendKey) matches(address string) bool {
	return address == k.Address || address == k.Endpoint.String()
}
