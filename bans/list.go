package bans

import (
	"net/netip"
	"strings"
)

// Query selects bans for a list. A zero field selects all.
type Query struct {
	// Near selects the bans that contain this prefix, or lie in it.
	Near netip.Prefix
	// Reason is a part of the reason, in any case.
	Reason string
	// Source selects those of a source; nil selects all.
	Source *string
	// After is the last prefix of the page before.
	After netip.Prefix
	// Limit is the most bans of the page.
	Limit int
}

// Page is a part of the list of bans, in the order of their prefixes, IPv4 first.
type Page struct {
	// Total is how many bans there are, Matched how many the query selects.
	Total, Matched int
	// Permanent is how many of those selected have no end.
	Permanent int
	Bans      []*Ban
	// More says that there are further bans after the page.
	More bool
}

// List returns a page. It reads one published table: changes meanwhile do not show. With a filter,
// it looks at all bans, and without one at those up to the end of the page; no loop waits.
func (s *Store) List(q Query) (p Page) {
	t, now := s.current.Load(), s.now()
	if t == nil {
		return p
	}
	q.Near, q.Reason = Canonical(q.Near), strings.ToLower(q.Reason)
	after := Canonical(q.After)
	all := !q.Near.IsValid() && q.Reason == "" && q.Source == nil
	visit := func(b *Ban) {
		if b.expired(now) {
			return
		}
		p.Total++
		if !q.selects(b) {
			return
		}
		p.Matched++
		if b.until == never {
			p.Permanent++
		}
		switch {
		case after.IsValid() && b.prefix.Compare(after) <= 0:
		case len(p.Bans) < q.Limit:
			p.Bans = append(p.Bans, b)
		default:
			p.More = true
		}
	}
	for _, b := range t.AllSorted() {
		if visit(b); all && p.More {
			break
		}
	}
	if all {
		s.mu.Lock()
		ending := len(s.expiries)
		s.mu.Unlock()
		p.Total, p.Matched, p.Permanent = t.Size(), t.Size(), max(0, t.Size()-ending)
	}
	return p
}

func (q *Query) selects(b *Ban) bool {
	switch {
	case q.Near.IsValid() && !q.Near.Overlaps(b.prefix):
		return false
	case q.Source != nil && b.Source() != *q.Source:
		return false
	}
	return q.Reason == "" || strings.Contains(strings.ToLower(b.Reason()), q.Reason)
}
