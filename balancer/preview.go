package balancer

import "l4proxy/backend"

// Preview is the order in which a client would try the backends of a pool now, each only if the one
// before fails.
type Preview struct {
	Policy string
	// Random says that the policy draws: this is the order for the next client only, and only if no
	// other comes before it.
	Random bool
	// Panicking is that of [Stats], and Waiting and Queue are the clients in the queue and the most
	// of them.
	Panicking      bool
	Waiting, Queue int
	// Used is the number of connections of the backends that are not down, drained or ejected, and
	// Limit the most that they may have; 0 if any of them has no limit.
	Used, Limit int64
	// Connections are those of the pool, with those of backends that have left it, and
	// MaxConnections is the most of them; 0 means no limit.
	Connections, MaxConnections int64
	// Order are the backends that the client would try, the first ones if there are many.
	Order []Candidate
	// Rest are backends that it would not try, the first ones in the order of the configuration.
	Rest []Candidate
	// Conditions is how many backends of the pool are in each Condition.
	Conditions [conditions]int
	// Verdict is that of the first pick, and After that of the pick after all of Order have failed;
	// it is Picked if Order is not complete.
	Verdict, After Verdict
}

// A Candidate is a backend in a Preview.
type Candidate struct {
	Member
	// Way is how the client would get there; NoWay in Rest.
	Way       Way
	Condition Condition
	Active    int64
	// Share is the part of its weight that it has while it starts slowly; 1 otherwise.
	Share float64
	// Until is when its ejection or its backoff ends, by Condition; 0 means now.
	Until int64
	// Probing says that a client is trying it, in backoff.
	Probing bool
	// Score is what the policy compares, the lowest first, if Scored: the connections with the new
	// one by weight, or the time until the next turn in cycles.
	Score  float64
	Scored bool
}

// Way is why a pick leads to a backend.
type Way uint8

// The ways.
const (
	NoWay      Way = iota
	ByPolicy       // it is available, and next in the order of the policy
	ByProbe        // its backoff has run out, and this client finds out whether it is back
	ByTrial        // clients do not get an answer there: this one decides whether it is ejected
	LastResort     // it is in backoff or ejected, and no other is left
)

// Condition is the strongest reason why a backend is available or not. The order is that of
// strength.
type Condition uint8

// The conditions, by the words that the status of the proxy has too.
const (
	IsDown      Condition = iota // by an operator or, unless the pool panics, by its checks
	IsDrained                    // by an operator
	IsEjected                    // too many of its connections failed
	IsBackedOff                  // its last dial failed
	IsFull                       // it has MaxConnections
	IsUp                         // by its checks
	IsUnknown                    // not checked
	conditions
)

var conditionNames = [conditions]string{"down", "drain", "ejected", "backoff", "full", "up", "unknown"}

func (c Condition) String() string { return conditionNames[c] }

func (m *member) condition(panicking bool) Condition {
	switch {
	case m.Admin() == backend.AdminDown:
		return IsDown
	case m.Admin() == backend.AdminDrain:
		return IsDrained
	case m.Health() == backend.HealthDown && !panicking:
		return IsDown
	case m.Ejected() && !panicking:
		return IsEjected
	case m.InBackoff():
		return IsBackedOff
	case m.full():
		return IsFull
	case m.Health() == backend.HealthUp:
		return IsUp
	}
	return IsUnknown
}

// scorer is a chooser that compares numbers. unit is that of the weights.
type scorer interface {
	score(i int, unit uint32) float64
}

// fraction is (connections+1)/weight.
func fraction(m *members, i int, unit uint32) float64 {
	return float64(m.backends[i].Active()+1) * float64(unit) / float64(m.weights[i])
}

// Preview shows the picks for a client that tries one backend after another. It makes them on a
// copy of the pool: nothing is counted, and no turn moves. A Waiter in the request says that the
// client would wait, and is not called. Order and Rest have at most that many backends each.
func (p *Balancer) Preview(r Request, most int) *Preview {
	t := p.twin()
	v := &Preview{
		Policy:    t.options.Policy,
		Random:    policies[t.options.Policy].draws,
		Panicking: t.standing.panicking,
		Waiting:   t.queue.len(),
		Queue:     t.options.Queue,

		Connections: t.active.Load(), MaxConnections: t.options.MaxConnections,
	}
	before := make(map[*backend.Backend]*Candidate, len(t.records))
	all := make([]Candidate, len(t.records))
	for i := range t.records {
		all[i] = t.candidate(i)
		before[t.records[i].Backend] = &all[i]
		v.Conditions[all[i].Condition]++
	}
	v.sumUp(all)
	if r.Waiter != nil {
		r.Waiter = new(nowhere)
	}
	for len(v.Order) < most {
		var b *backend.Backend
		b, v.After = t.Pick(r)
		if v.After != Picked {
			break
		}
		c := before[b]
		c.Way = t.way(c, t.members[b], &r)
		v.Order = append(v.Order, *c)
		t.Done(b, r.Now)
		r.Tried = append(r.Tried, b)
	}
	if len(v.Order) == 0 {
		v.Verdict = v.After
	}
	for i := range all {
		if len(v.Rest) < most && all[i].Way == NoWay && (v.After != Picked || t.hopeless(&t.records[i])) {
			v.Rest = append(v.Rest, all[i])
		}
	}
	return v
}

// sumUp sets Used and Limit.
func (v *Preview) sumUp(all []Candidate) {
	unlimited := false
	for i := range all {
		if c := &all[i]; c.Condition > IsEjected {
			v.Used += c.Active
			v.Limit += int64(c.MaxConnections)
			unlimited = unlimited || c.MaxConnections == 0
		}
	}
	if unlimited {
		v.Limit = 0
	}
}

// candidate describes the member i of the configuration, before any pick.
func (t *twin) candidate(i int) Candidate {
	m := &t.records[i]
	c := Candidate{
		Member:    m.Member,
		Condition: m.condition(t.standing.panicking),
		Active:    m.Active(),
		Share:     float64(m.tier.members.weights[m.index]) / float64(m.tier.members.full[m.index]),
		Probing:   m.Probing(),
	}
	c.Backend = t.live[i]
	switch c.Condition {
	case IsEjected:
		c.Until = m.EjectedUntil()
	case IsBackedOff:
		c.Until = m.BackoffUntil()
	}
	if s, ok := m.tier.chooser.(scorer); ok && m.tier.available[m.index] {
		unit := uint32(1)
		if t.options.SlowStart > 0 {
			unit = slowStartSteps
		}
		c.Score, c.Scored = s.score(m.index, unit), true
	}
	return c
}

// way is how a pick has led to m, which was c before.
func (t *twin) way(c *Candidate, m *member, r *Request) Way {
	switch {
	case c.Condition == IsBackedOff && c.Until <= r.Now:
		return ByProbe
	case c.Condition == IsBackedOff || c.Condition == IsEjected:
		return LastResort
	case len(r.Tried) == 0 && m.trial.on && m.trial.next == r.Now+int64(m.trial.every):
		return ByTrial
	}
	return ByPolicy
}

// hopeless reports whether no client gets to m as things are.
func (t *twin) hopeless(m *member) bool {
	return !m.tier.available[m.index] && !m.tier.waiting.Has(m.index)
}
