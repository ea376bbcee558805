package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"l4proxy/admin"
)

// What clients notice comes first, what an operator has done himself last.
func TestStatusProblems(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	before := func(d time.Duration) *time.Time { return new(now.Add(-d)) }
	s := &admin.Status{
		Upgrading: true, Connections: 9, MaxConnections: 9,
		Config: admin.ConfigStatus{
			AppliedAt:    now.Add(-time.Hour),
			LastRollback: &admin.RollbackDone{At: now.Add(-time.Hour), From: 4, Reason: "not kept in time"},
			LastFailure:  &admin.Failure{At: now.Add(-time.Minute), Error: "config.yaml:2:3: bind is missing"},
			Unconfirmed:  &admin.Unconfirmed{Until: now.Add(30 * time.Second)},
		},
		Listeners: []admin.ListenerStatus{
			{Name: "web", Pool: "web", State: admin.ListenerFull, MaxConnections: 7},
			{Name: "db", Pool: "db", State: admin.ListenerClosed},
		},
		Pools: []admin.PoolStatus{
			{Name: "db", Queued: 2, Backends: []admin.BackendStatus{
				{Address: "10.0.0.1:5432", State: admin.BackendDown, Since: before(3 * time.Minute), Error: "connect: connection refused"},
				{Address: "10.0.0.2:5432", State: admin.BackendDown, Since: before(time.Minute)}, // by an operator
			}},
			{Name: "web", Serving: true,
				Backends: []admin.BackendStatus{
					{Address: "10.0.0.3:80", State: admin.BackendBackoff, RetryIn: 2, Error: "connect: no route to host"},
					{Address: "10.0.0.4:80", State: admin.BackendEjected, RetryIn: 20, Since: before(10 * time.Second)},
					{Address: "10.0.0.5:80", State: admin.BackendUp},
					{Address: "10.0.0.6:80", State: admin.BackendBackoff, Backup: true, Error: "connect: connection refused"},
				},
				Names: []admin.NameStatus{
					{Backend: "a.test:80", Resolved: before(time.Hour), FailingSince: before(50 * time.Minute), Error: "no such host"},
					{Backend: "b.test:80", Error: "timed out"},
					{Backend: "srv:_c.test", HeldBack: []string{"1", "2", "3", "4", "5", "6", "7"}, HeldUntil: before(-9 * time.Minute)},
					{Backend: "d.test:80", Refused: []string{"127.0.0.1:80"}},
					{Backend: "e.test:80"},
				},
			},
		},
		Drains: []admin.Drain{{Pool: "db", Backend: "10.0.0.2:5432", State: admin.DrainDown, Connections: 1, Before: 3}},
	}
	want := []string{
		"the process has reached its limit of 9 connections: clients wait",
		"pool db: no backend can serve",
		"pool db: 2 clients wait for a backend",
		"listener web has reached its limit of 7 connections: clients wait",
		"listener db is closed: no backend of pool db can serve",
		"the configuration is unconfirmed: it is rolled back in 30s (l4proxy reload --keep or --rollback)",
		"generation 4 was rolled back 1h0m ago: not kept in time (the next reload, upgrade or restart reads the file again)",
		"the last reload, 1m0s ago, was refused: config.yaml:2:3: bind is missing",
		"an upgrade is in progress",
		"backend 10.0.0.1:5432 of pool db: down for 3m0s: connect: connection refused",
		"backend 10.0.0.3:80 of pool web: backoff, tried again in 2s: connect: no route to host",
		"backend 10.0.0.4:80 of pool web: ejected for 10s, tried again in 20s",
		"backup 10.0.0.6:80 of pool web: backoff, tried again with the next client: connect: connection refused",
		"name a.test:80 of pool web does not resolve for 50m0s: no such host (the answer of 1h0m ago stays in use)",
		"name b.test:80 of pool web does not resolve: timed out (no address is known)",
		"name srv:_c.test of pool web has lost too many addresses at once: 7 removals held back, for 9m0s more: 1, 2, 3, 4, 5 and 2 more (a reload with endpoints.max_removed: 100% carries them out)",
		"name d.test:80 of pool web leads back to the proxy itself: 127.0.0.1:80 not used",
		"backend 10.0.0.2:5432 of pool db was set down: 1 connection of 3 left",
	}
	found := statusProblems(s, now)
	var texts []string
	for _, p := range found {
		texts = append(texts, p.Text)
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Error(diff)
	}
	for i, want := range map[int]admin.Problem{
		0:  {Level: "error", Kind: "process_full"},
		1:  {Level: "error", Kind: "pool_down", Pool: "db"},
		3:  {Level: "error", Kind: "listener_full", Listener: "web", Pool: "web"},
		7:  {Level: "warn", Kind: "reload_refused"},
		9:  {Level: "warn", Kind: "backend_down", Pool: "db", Backend: "10.0.0.1:5432"},
		14: {Level: "warn", Kind: "name_unresolved", Pool: "web", Backend: "b.test:80"},
		17: {Level: "info", Kind: "drain", Pool: "db", Backend: "10.0.0.2:5432"},
	} {
		want.Text = texts[i]
		if diff := cmp.Diff(want, found[i]); diff != "" {
			t.Error(diff)
		}
	}
	s = &admin.Status{Connections: 8, MaxConnections: 9, Config: admin.ConfigStatus{LastOK: true, LastRollback: &admin.RollbackDone{At: now.Add(-time.Hour)}, AppliedAt: now}}
	if found := statusProblems(s, now); len(found) > 0 {
		t.Errorf("problems %q of a proxy that is well", found)
	}
}
