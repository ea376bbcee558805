package main

import (
	"fmt"
	"strings"
	"time"

	"l4proxy/admin"
)

// statusProblems are what an operator should look at: what clients notice first.
func statusProblems(s *admin.Status, now time.Time) (found []string) {
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for _, p := range s.Pools {
		if !p.Serving {
			add("pool %s: no backend can serve", p.Name)
		}
		if p.Queued > 0 {
			add("pool %s: %s for a backend", p.Name, waiting(p.Queued))
		}
	}
	for _, l := range s.Listeners {
		switch l.State {
		case admin.ListenerFull:
			add("listener %s has reached its limit of %s: clients wait", l.Name, count(int(l.MaxConnections), "connection"))
		case admin.ListenerClosed:
			add("listener %s is closed: no backend of pool %s can serve", l.Name, l.Pool)
		}
	}
	configProblems(&s.Config, now, add)
	if s.Upgrading {
		add("an upgrade is in progress")
	}
	for _, p := range s.Pools {
		for _, b := range p.Backends {
			operators := findDrain(s.Drains, &admin.Drain{Pool: p.Name, Backend: b.Address}) != nil
			if text := backendProblem(&b, now); text != "" && !operators {
				add("backend %s of pool %s: %s", backendName(&b), p.Name, text)
			}
		}
		for _, n := range p.Names {
			nameProblems(&n, p.Name, now, add)
		}
	}
	for i := range s.Drains {
		add("%s", describeDrain(&s.Drains[i], now))
	}
	return found
}

func configProblems(c *admin.ConfigStatus, now time.Time, add func(string, ...any)) {
	if u := c.Unconfirmed; u != nil {
		what := "rolled back"
		if u.KeepAfter {
			what = "kept"
		}
		add("the configuration is unconfirmed: it is %s in %s (l4proxy reload --keep or --rollback)", what, ago(u.Until.Sub(now)))
	}
	if r := c.LastRollback; r != nil && r.At.Equal(c.AppliedAt) {
		add("generation %d was rolled back %s ago: %s (the next reload, upgrade or restart reads the file again)", r.From, ago(now.Sub(r.At)), r.Reason)
	}
	if !c.LastOK && c.LastFailure != nil {
		add("the last reload, %s ago, was refused: %s", ago(now.Sub(c.LastFailure.At)), c.LastFailure.Error)
	}
}

// backendProblem says why a backend gets no clients, unless an operator wants that.
func backendProblem(b *admin.BackendStatus, now time.Time) string {
	switch b.State {
	case admin.BackendDown, admin.BackendBackoff, admin.BackendEjected:
	default:
		return ""
	}
	text := b.State
	if b.Since != nil {
		text += " for " + ago(now.Sub(*b.Since))
	}
	if b.RetryIn > 0 {
		text += ", tried again in " + ago(time.Duration(b.RetryIn*float64(time.Second)))
	}
	if b.Error != "" {
		text += ": " + b.Error
	}
	return text
}

// nameProblems says what is wrong with a name that follows DNS.
func nameProblems(n *admin.NameStatus, pool string, now time.Time, add func(string, ...any)) {
	if n.Error != "" {
		since, use := "", "no address is known"
		if n.FailingSince != nil {
			since = " for " + ago(now.Sub(*n.FailingSince))
		}
		if n.Resolved != nil {
			use = fmt.Sprintf("the answer of %s ago stays in use", ago(now.Sub(*n.Resolved)))
		}
		add("name %s of pool %s does not resolve%s: %s (%s)", n.Backend, pool, since, n.Error, use)
	}
	if len(n.HeldBack) > 0 {
		when := ""
		if n.HeldUntil != nil {
			when = ", for " + ago(n.HeldUntil.Sub(now)) + " more"
		}
		add("name %s of pool %s has lost too many addresses at once: %s held back%s: %s (a reload with endpoints.max_removed: 100%% carries them out)",
			n.Backend, pool, count(len(n.HeldBack), "removal"), when, list(n.HeldBack))
	}
	if len(n.Refused) > 0 {
		add("name %s of pool %s leads back to the proxy itself: %s not used", n.Backend, pool, list(n.Refused))
	}
}

// list names the first of many addresses.
func list(addresses []string) string {
	const most = 5
	if len(addresses) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(addresses[:most], ", "), len(addresses)-most)
	}
	return strings.Join(addresses, ", ")
}

func waiting(n int) string {
	if n == 1 {
		return "1 client waits"
	}
	return fmt.Sprintf("%d clients wait", n)
}
