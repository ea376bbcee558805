package main

import (
	"context"
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/admin"
	"l4proxy/backend"
	"l4proxy/control"
)

// adminView is a process as the admin address shows it.
type adminView struct{ p *process }

// Alive asks every event loop.
func (v adminView) Alive(ctx context.Context) error { return v.p.server.Alive(ctx) }

// NotReady says why new clients should not be sent here.
func (v adminView) NotReady() string {
	_, handedOver := v.p.upgrades.succeeded()
	switch {
	case handedOver:
		return "another process has taken over"
	case !v.p.drainer.ready():
		return "shutting down"
	case !v.p.serving.Load():
		return "starting"
	}
	return ""
}

// Status is a snapshot of the process.
func (v adminView) Status() *admin.Status {
	p := v.p
	reason := v.NotReady()
	status := &admin.Status{
		Version:        version,
		PID:            os.Getpid(),
		Started:        p.began.UTC().Truncate(time.Millisecond),
		Uptime:         time.Since(p.began).Round(time.Millisecond).Seconds(),
		Ready:          reason == "",
		NotReady:       reason,
		Engine:         p.server.Engine(),
		Workers:        p.server.Workers(),
		Connections:    p.server.Connections(),
		MaxConnections: p.server.MaxConnections(),
		Config:         p.configStatus(),
		Listeners:      p.listenerStatus(),
		Pools:          p.poolStatus(),
		Drains:         p.drainStatus(),
		Upgrading:      p.upgrades.running(),
	}
	status.Problems = statusProblems(status, time.Now())
	return status
}

func (p *process) listenerStatus() []admin.ListenerStatus {
	addresses := make(map[string][]string)
	for _, a := range p.server.Addrs() {
		addresses[a.Listener] = append(addresses[a.Listener], a.Bind.String())
	}
	drains := p.live.Drains()
	rules, tarpitted := p.ruleStatus()
	limits := p.clientLimits()
	all := []admin.ListenerStatus{}
	for _, l := range p.live.Listeners() {
		status := admin.ListenerStatus{
			Name: l.Name, Addresses: addresses[l.Name], State: admin.ListenerOpen,
			Connections: l.Slots.Used(), MaxConnections: l.Slots.Limit(), Rules: rules[l.Name], Tarpitted: tarpitted[l.Name],
			PerClient: limits[l.Name],
		}
		if l.Pool != nil {
			status.Pool = l.Pool.Name
		}
		for i, r := range l.Routes.Routes() {
			status.Routes = append(status.Routes, admin.RouteStatus{Clients: r.String(), Pool: l.RoutePools[i].Name})
		}
		switch {
		case !p.drainer.ready(), slices.ContainsFunc(drains, func(d control.Drain) bool { return d.Listener == l.Name }):
			status.State = admin.ListenerDraining
		case l.Closed:
			status.State = admin.ListenerClosed
		case l.Slots.Full():
			status.State = admin.ListenerFull
		}
		all = append(all, status)
	}
	return all
}

func (p *process) poolStatus() []admin.PoolStatus {
	names := make(map[string][]admin.NameStatus)
	for _, n := range p.live.Names() {
		names[n.Pool] = append(names[n.Pool], nameStatus(&n))
	}
	now := p.live.Now()
	all := []admin.PoolStatus{}
	for _, pool := range p.live.Pools() {
		status := admin.PoolStatus{
			Name: pool.Name, Policy: pool.Policy, Serving: pool.CanServe, Queued: pool.Queued,
			Connections: pool.Connections, MaxConnections: pool.Limit,
			Backends: []admin.BackendStatus{}, Names: names[pool.Name],
		}
		first := uint8(math.MaxUint8)
		for i := range pool.Backends {
			first = min(first, pool.Backends[i].Priority)
		}
		for i := range pool.Backends {
			b := p.backendStatus(&pool.Backends[i], now)
			b.Backup = pool.Backends[i].Priority > first
			status.Backends = append(status.Backends, b)
		}
		all = append(all, status)
	}
	return all
}

// nameStatus is a name that follows DNS.
func nameStatus(n *control.NameStatus) admin.NameStatus {
	return admin.NameStatus{
		Backend: n.Backend, Addresses: n.Addresses, Resolved: known(n.Resolved), TTL: n.TTL, Error: n.Error,
		FailingSince: known(n.FailingSince), HeldBack: n.HeldBack, HeldUntil: known(n.HeldUntil), Refused: n.Refused,
	}
}

// known is a time for JSON; nil if it is unknown.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC().Truncate(time.Millisecond))
}

func (p *process) backendStatus(b *control.BackendInfo, now int64) admin.BackendStatus {
	_, failed := b.Dials()
	status := admin.BackendStatus{
		Address: b.Address, State: backendState(b.Backend), Connections: b.Active(), Total: b.Total(), Weight: b.Weight, ConfiguredWeight: b.ConfiguredWeight,
		MaxConnections: int(b.MaxConnections), FailedDials: failed, RetryIn: b.RetryIn(now).Round(time.Millisecond).Seconds(),
	}
	if resolved := b.Key.Endpoint.TCP; resolved.IsValid() && resolved.String() != b.Address {
		status.Resolved = resolved.String()
	}
	since := b.Since
	if b.Err != nil {
		status.Error = b.Err.Error()
	}
	switch {
	case b.Admin() != backend.AdminUp:
		since = b.Drained
	case status.State == admin.BackendEjected:
		since, status.Error = p.live.Clock(b.EjectedSince()), "too many connections in a row failed"
		if b.InBackoff() {
			status.Error += "; " + dialError(b.DialError())
		}
	case status.State == admin.BackendBackoff:
		since, status.Error = p.live.Clock(b.BackoffSince()), dialError(b.DialError())
	}
	status.Since = known(since)
	return status
}

// dialError says why a dial failed; "" if that is unknown.
func dialError(errno unix.Errno) string {
	switch errno {
	case 0:
		return ""
	case unix.ECANCELED: // by the timer
		errno = unix.ETIMEDOUT
	}
	return "connect: " + errno.Error()
}

// backendState is the strongest reason why a backend gets no clients, or its health.
func backendState(b *backend.Backend) string {
	switch {
	case b.Admin() == backend.AdminDown:
		return admin.BackendDown
	case b.Admin() == backend.AdminDrain:
		return admin.BackendDrain
	case b.Health() == backend.HealthDown:
		return admin.BackendDown
	case b.Ejected():
		return admin.BackendEjected
	case b.InBackoff():
		return admin.BackendBackoff
	case b.Health() == backend.HealthUp:
		return admin.BackendUp
	}
	return admin.BackendUnknown
}
