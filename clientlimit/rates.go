package clientlimit

// rates are the clients of a shard that connected recently. Each connection costs a client one
// interval, and time pays: a client owes the time until all its connections are paid for, at most
// capacity. This is a token bucket with one number per client (GCRA, ITU-T I.371).
//
// A client that owes nothing needs no entry. One that owes keeps its entry until it has paid:
// nothing that other clients do takes it away. A client that finds no free entry is let pass
// without one. So an attacker with any number of addresses can neither clear what a client owes nor
// keep another client out. While the table is full, the rates of further clients are not limited.
// Those whose first connection comes then may exceed the limit until an entry is free; Verdict says
// so.
//
// A client has two sets of eight entries to choose from, and takes a free one in the set that has
// more of them. So nearly all clients find one until three quarters of the table are taken.
type rates []rate

// rate is what a client owes.
type rate struct {
	client uint64 // its hash: two clients share one in 2^64 cases
	paid   int64  // when everything is paid for; free if that is over
}

const (
	setSize      = 8
	setsPerShard = 64
	// Capacity is how many clients fit into the table of recent clients.
	Capacity = shards * setsPerShard * setSize
)

func newRates() rates { return make(rates, setsPerShard*setSize) }

// sets are those in which a client may be.
func (r rates) sets(h uint64) (a, b []rate) {
	i, j := h%setsPerShard*setSize, h/setsPerShard%setsPerShard*setSize
	return r[i : i+setSize : i+setSize], r[j : j+setSize : j+setSize]
}

// find returns the entry of a client that owes, or nil. The second result is a free entry in the
// set with more of them, nil if both are full.
func (r rates) find(h uint64, now int64) (own, free *rate) {
	a, b := r.sets(h)
	most := 0
	for _, set := range [2][]rate{a, b} {
		n := 0
		var last *rate
		for i := range set {
			e := &set[i]
			switch {
			case e.paid <= now:
				n++
				last = e
			case e.client == h:
				return e, nil
			}
		}
		if n > most {
			free, most = last, n
		}
	}
	return nil, free
}

// take makes a client owe another interval, unless that is more than it may owe.
func (r rates) take(h uint64, now int64, l *limits) Verdict {
	own, free := r.find(h, now)
	switch {
	case own != nil:
		own.paid = min(own.paid, now+l.capacity) // the limit may have been another
		if own.paid+l.interval > now+l.capacity {
			return OverRate
		}
		own.paid += l.interval
	case free != nil:
		*free = rate{h, now + l.interval}
	default:
		return CountedUnrated
	}
	return Counted
}

// owed is how much a client owes.
func (r rates) owed(h uint64, now int64, l *limits) int64 {
	if own, _ := r.find(h, now); own != nil {
		return min(own.paid-now, l.capacity)
	}
	return 0
}

// owing is the number of clients that owe.
func (r rates) owing(now int64) (n int) {
	for i := range r {
		if r[i].paid > now {
			n++
		}
	}
	return n
}
