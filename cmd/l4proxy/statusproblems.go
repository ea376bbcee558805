package main

import (
	"fmt"
	"strings"
	"time"

	"l4proxy/admin"
)

// Levels of a problem.
const (
	urgent  = "error" // clients are not served
	warning = "warn"  // clients could be affected soon
	notice  = "info"  // an operator has asked for it
)

// problems collects what an operator should look at.
type problems []admin.Problem

// add adds a problem. about says which listener, pool or backend it is about.
func (p *problems) add(level, kind string, about admin.Problem, format string, args ...any) {
	about.Level, about.Kind, about.Text = level, kind, fmt.Sprintf(format, args...)
	*p = append(*p, about)
}

// statusProblems are what an operator should look at: what clients notice first.
func statusProblems(s *admin.Status, now time.Time) []admin.Problem {
	found := problems{}
	if s.MaxConnections > 0 && s.Connections >= s.MaxConnections {
		found.add(urgent, "process_full", admin.Problem{}, "the process has reached its limit of %s: clients wait", count(s.MaxConnections, "connection"))
	}
	for _, p := range s.Pools {
		about := admin.Problem{Pool: p.Name}
		if !p.Serving {
			found.add(urgent, "pool_down", about, "pool %s: no backend can serve", p.Name)
		}
		if p.Queued > 0 {
			found.add(warning, "clients_queued", about, "pool %s: %s for a backend", p.Name, waiting(p.Queued))
		}
	}
	for _, l := range s.Listeners {
		about := admin.Problem{Listener: l.Name, Pool: l.Pool}
		switch l.State {
		case admin.ListenerFull:
			found.add(urgent, "listener_full", about, "listener %s has reached its limit of %s: clients wait", l.Name, count(int(l.MaxConnections), "connection"))
		case admin.ListenerClosed:
			found.add(urgent, "listener_closed", about, "listener %s is closed: no backend of pool %s can serve", l.Name, l.Pool)
		}
	}
	found.addConfig(&s.Config, now)
	if s.Upgrading {
		found.add(notice, "upgrading", admin.Problem{}, "an upgrade is in progress")
	}
	operators := make(map[[2]string]bool, len(s.Drains)) // backends that an operator has taken out
	for i := range s.Drains {
		operators[[2]string{s.Drains[i].Pool, s.Drains[i].Backend}] = true
	}
	for _, p := range s.Pools {
		for _, b := range p.Backends {
			if text := backendProblem(&b, now); text != "" && !operators[[2]string{p.Name, b.Address}] {
				about := admin.Problem{Pool: p.Name, Backend: b.Address}
				found.add(warning, "backend_"+b.State, about, "%s of pool %s: %s", problemBackend(&b), p.Name, text)
			}
		}
		for _, n := range p.Names {
			found.addName(&n, p.Name, now)
		}
	}
	for i := range s.Drains {
		d := &s.Drains[i]
		found.add(notice, "drain", admin.Problem{Listener: d.Listener, Pool: d.Pool, Backend: d.Backend}, "%s", describeDrain(d, now))
	}
	return found
}

func (p *problems) addConfig(c *admin.ConfigStatus, now time.Time) {
	var about admin.Problem // the process
	if u := c.Unconfirmed; u != nil {
		what := "rolled back"
		if u.KeepAfter {
			what = "kept"
		}
		p.add(warning, "config_unconfirmed", about, "the configuration is unconfirmed: it is %s in %s (l4proxy reload --keep or --rollback)", what, ago(u.Until.Sub(now)))
	}
	if r := c.LastRollback; r != nil && r.At.Equal(c.AppliedAt) {
		p.add(warning, "config_rolled_back", about, "generation %d was rolled back %s ago: %s (the next reload, upgrade or restart reads the file again)", r.From, ago(now.Sub(r.At)), r.Reason)
	}
	if !c.LastOK && c.LastFailure != nil {
		p.add(warning, "reload_refused", about, "the last reload, %s ago, was refused: %s", ago(now.Sub(c.LastFailure.At)), c.LastFailure.Error)
	}
}

// problemBackend names a backend within a sentence.
func problemBackend(b *admin.BackendStatus) string {
	kind := "backend "
	if b.Backup {
		kind = "backup "
	}
	if b.Resolved != "" {
		return kind + b.Address + " (" + b.Resolved + ")"
	}
	return kind + b.Address
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
	switch {
	case b.RetryIn > 0:
		text += ", tried again in " + ago(time.Duration(b.RetryIn*float64(time.Second)))
	case b.State == admin.BackendBackoff:
		text += ", tried again with the next client"
	}
	if b.Error != "" {
		text += ": " + b.Error
	}
	return text
}

// addName adds what is wrong with a name that follows DNS.
func (p *problems) addName(n *admin.NameStatus, pool string, now time.Time) {
	about := admin.Problem{Pool: pool, Backend: n.Backend}
	if n.Error != "" {
		since, use := "", "no address is known"
		if n.FailingSince != nil {
			since = " for " + ago(now.Sub(*n.FailingSince))
		}
		if n.Resolved != nil {
			use = fmt.Sprintf("the answer of %s ago stays in use", ago(now.Sub(*n.Resolved)))
		}
		p.add(warning, "name_unresolved", about, "name %s of pool %s does not resolve%s: %s (%s)", n.Backend, pool, since, n.Error, use)
	}
	if len(n.HeldBack) > 0 {
		when := ""
		if n.HeldUntil != nil {
			when = ", for " + ago(n.HeldUntil.Sub(now)) + " more"
		}
		p.add(warning, "name_held_back", about, "name %s of pool %s has lost too many addresses at once: %s held back%s: %s (a reload with endpoints.max_removed: 100%% carries them out)",
			n.Backend, pool, count(len(n.HeldBack), "removal"), when, list(n.HeldBack))
	}
	if len(n.Refused) > 0 {
		p.add(warning, "name_refused", about, "name %s of pool %s leads back to the proxy itself: %s not used", n.Backend, pool, list(n.Refused))
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
