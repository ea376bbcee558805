package control

import (
	"fmt"

	"l4proxy/backend"
)

// DrainListener closes a listener to new clients. Its sockets stay, and it stays closed across
// reloads until UndrainListener, or until it is removed from the configuration.
func (l *Live) DrainListener(name string, o DrainOptions) (Drain, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	slots := l.slots[name]
	if slots == nil {
		return Drain{}, fmt.Errorf("%w listener %s", ErrUnknown, name)
	}
	if old := l.drains.listeners[name]; old != nil {
		old.over.Store(true)
	}
	d := newDrain(backend.AdminDrain, slots.Used(), o)
	l.drains.listeners[name] = d
	if l.running != nil {
		l.running.plane.DrainListener(name, true)
		if g, ok := d.ending(o); ok {
			g.Listener = name
			l.running.plane.EndGently(g)
		}
	}
	l.log.Info("listener drained", "listener", name, "connections", d.before, seconds("timeout", int64(o.Timeout)))
	return l.describeListener(name, d), nil
}

// UndrainListener reopens a listener, unless no backend of its pool can serve.
func (l *Live) UndrainListener(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.drains.listeners[name]
	if d == nil || !d.gone.IsZero() {
		return fmt.Errorf("listener %s is not drained", name)
	}
	d.over.Store(true)
	delete(l.drains.listeners, name)
	if l.running != nil {
		l.running.plane.DrainListener(name, false)
	}
	l.log.Info("listener in service again", "listener", name)
	return nil
}

func (l *Live) describeListener(name string, d *drain) Drain {
	description := d.describe()
	description.Listener = name
	if slots := l.slots[name]; slots != nil {
		description.Connections = slots.Used()
	}
	return description
}
