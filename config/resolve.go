package config

import "time"

// Resolve says how host names of backends follow DNS.
type Resolve struct {
	// An answer is used for its TTL, but at least Min and at most Max.
	Min, Max time.Duration
	// Family is which addresses of a name are used.
	Family Family
}

const shortestResolve = time.Second // a name server serves others too

func (r *Resolve) fields() fields {
	return fields{
		{"min", duration(&r.Min).min(shortestResolve).def("5s"), "A name is looked up again when the TTL of its answer has passed, but not before this time; at least 1s."},
		{"max", duration(&r.Max).min(shortestResolve).def("5m"), "A name is looked up again after this time at the latest, whatever its TTL."},
		{"family", enum(&r.Family, families, FamilyAny), "Which addresses of a name are used: `any`, `ipv4` or `ipv6`. Choose `ipv4` if this machine has no IPv6 and names have IPv6 addresses too."},
	}
}

// Endpoints says how far the set of backends may change by itself.
type Endpoints struct {
	// MaxRemoved is the largest share of the pool's backends, in percent, that may be lost at once.
	MaxRemoved int
	// Hold is how long a larger loss must last until it is accepted.
	Hold time.Duration
}

func (e *Endpoints) fields() fields {
	return fields{
		{"max_removed", percent(&e.MaxRemoved, 1, 100).def("50%"), "If the pool would lose more than this share of its backends within the time of `hold`, the removals are held back; see [Host names](#host-names). 100% never holds back."},
		{"hold", duration(&e.Hold).positive().def("5m"), "Held-back removals are carried out after that time, unless the backends have come back. Not 0."},
	}
}
