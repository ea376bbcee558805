package control

import (
	"fmt"
	"math/rand/v2"
	"time"

	"l4proxy/backend"
	"l4proxy/proxy"
)

// operate does what an operator might do next: drain something, or take that back.
func (c *churn) operate(r *rand.Rand) {
	l := c.state.Load().Listeners[0]
	if len(l.Pool.Balancer.Members()) == 0 {
		return
	}
	o := DrainOptions{Timeout: time.Duration(r.IntN(2)) * time.Second}
	member := l.Pool.Balancer.Members()[r.IntN(len(l.Pool.Balancer.Members()))]
	// The errors are about drains that are not in effect: the plan may be another one by now.
	switch r.IntN(4) {
	case 0:
		_, _ = c.live.DrainListener(l.Name, o)
	case 1:
		_ = c.live.UndrainListener(l.Name)
	default:
		_, _ = c.live.SetBackend(l.Pool.Name, member.Address, backend.Admin(r.IntN(3)), o)
	}
}

// misdrained describes a listener or a backend that is drained and should not be, or the other way
// round; "" if there is none. It is called with the lock held.
func (c *churn) misdrained() string {
	listeners, backends := make(map[string]bool), make(map[string]string)
	for _, d := range c.live.Drains() {
		if d.Listener != "" {
			listeners[d.Listener] = true
		} else {
			backends[d.Pool+" "+d.Backend] = d.State
		}
	}
	for _, l := range c.state.Load().Listeners {
		if c.drained[l.Name] != listeners[l.Name] {
			return fmt.Sprintf("listener %s is drained = %v, want %v", l.Name, c.drained[l.Name], listeners[l.Name])
		}
		for _, m := range l.Pool.Balancer.Members() {
			want := backends[l.Pool.Name+" "+m.Address]
			if got := m.Admin().String(); got != want && (got != "up" || want != "") {
				return fmt.Sprintf("backend %s of pool %s is %s, want %s", m.Address, l.Pool.Name, got, want)
			}
		}
	}
	return ""
}

func (c *churn) DrainListener(name string, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drained[name] = on
}

func (c *churn) EndGently(g proxy.GentleEnd) {
	if g.Cancelled != nil {
		g.Cancelled()
	}
}
