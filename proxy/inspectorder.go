package proxy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// listsKept lists are kept for their next pages, each for listKept after its last use.
	listsKept = 8
	listKept  = time.Minute
)

// foundConns are the connections of a query from the wanted page on, in order.
type foundConns struct {
	matched int
	keys    []connKey
	// next returns ConnPage.Next of a page that has used a number of the keys, fewer than all.
	next func(*lists, int) string
}

// find finds and orders the connections of a query.
func (s *Server) find(ctx context.Context, q *ConnQuery) (*foundConns, error) {
	if q.ID != "" {
		if k, ok := parseConnKey(q.ID); ok {
			return &foundConns{matched: 1, keys: []connKey{k}}, nil
		}
		return &foundConns{}, nil
	}
	if q.Sort == SortAge {
		return s.findByAge(ctx, q)
	}
	if q.After != "" {
		return s.inspect.lists.resume(q)
	}
	rows, err := s.walk(ctx, &q.ConnFilter)
	if err != nil {
		return nil, err
	}
	rates := s.inspect.rates.note(rows)
	if q.Sort == SortRate && !q.Hurry && slices.ContainsFunc(rates, unknownRate) {
		// Nothing refers to the rows while this waits, so they may be freed.
		if err := s.pause(ctx, rateLeast); err != nil {
			return nil, err
		}
		if rows, err = s.walk(ctx, &q.ConnFilter); err != nil {
			return nil, err
		}
		rates = s.inspect.rates.note(rows)
	}
	keys := order(rows, rates, q.Sort)
	next := func(all *lists, used int) string { return all.keep(q, keys, used) }
	return &foundConns{len(keys), keys, next}, nil
}

// findByAge needs no list that is kept: the age of a connection never changes, so the last one of a
// page says where the next page begins.
func (s *Server) findByAge(ctx context.Context, q *ConnQuery) (*foundConns, error) {
	var after connRow
	if q.After != "" {
		if !after.parseAge(q.After) {
			return nil, ErrAfter
		}
	}
	rows, err := s.walk(ctx, &q.ConnFilter)
	if err != nil {
		return nil, err
	}
	s.inspect.rates.note(rows)
	matched := len(rows)
	if q.After != "" {
		rows = slices.DeleteFunc(rows, func(r connRow) bool { return byAge(&r, &after) <= 0 })
	}
	slices.SortFunc(rows, func(a, b connRow) int { return byAge(&a, &b) })
	next := func(_ *lists, used int) string { return rows[used-1].ageText() }
	return &foundConns{matched, keysOf(rows), next}, nil
}

func byAge(a, b *connRow) int {
	return cmp.Or(cmp.Compare(a.accepted, b.accepted), cmp.Compare(a.worker, b.worker), cmp.Compare(a.index, b.index), cmp.Compare(a.serial, b.serial))
}

// ageText is ConnPage.Next after this connection.
func (r *connRow) ageText() string { return fmt.Sprintf("%s-%d-%s", SortAge, r.accepted, r.connKey) }

func (r *connRow) parseAge(text string) (ok bool) {
	sort, rest, _ := strings.Cut(text, "-")
	accepted, key, _ := strings.Cut(rest, "-")
	at, err := strconv.ParseInt(accepted, 10, 64)
	if sort != string(SortAge) || err != nil {
		return false
	}
	r.accepted = at
	r.connKey, ok = parseConnKey(key)
	return ok
}

func keysOf(rows []connRow) []connKey {
	keys := make([]connKey, len(rows))
	for i := range rows {
		keys[i] = rows[i].connKey
	}
	return keys
}

// order returns the keys of rows in an order. rates are those of the rows.
func order(rows []connRow, rates []connRate, sort ConnSort) []connKey {
	type ranked struct {
		weight float64
		row    int32
	}
	all := make([]ranked, len(rows))
	for i := range rows {
		r := &rows[i]
		weight := float64(r.bytes[clientEnd]) + float64(r.bytes[backendEnd])
		switch sort {
		case SortIdle:
			weight = float64(r.seen - r.lastActive)
		case SortRate:
			weight = rates[i].in + rates[i].out
		}
		all[i] = ranked{weight, int32(i)}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), byAge(&rows[a.row], &rows[b.row]))
	})
	keys := make([]connKey, len(rows))
	for i, r := range all {
		keys[i] = rows[r.row].connKey
	}
	return keys
}

// lists are the orders that change with every byte: they are kept as they were when the first page
// was asked for, so that the pages after it show each connection once.
type lists struct {
	mu     sync.Mutex
	all    map[uint64]*keptList
	last   uint64
	expiry *time.Timer
}

type keptList struct {
	filter ConnFilter
	sort   ConnSort
	keys   []connKey
	used   time.Time
}

// keep keeps the list of a query, unless it is kept already, and returns ConnPage.Next of a page
// that has used a number of its keys.
func (l *lists) keep(q *ConnQuery, keys []connKey, used int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[uint64]*keptList)
	}
	if len(l.all) >= listsKept {
		oldest := uint64(0)
		for id, list := range l.all {
			if oldest == 0 || list.used.Before(l.all[oldest].used) {
				oldest = id
			}
		}
		delete(l.all, oldest)
	}
	l.last++
	l.all[l.last] = &keptList{q.ConnFilter, q.Sort, keys, time.Now()}
	l.expireLater()
	return listText(q.Sort, l.last, used)
}

func listText(sort ConnSort, id uint64, used int) string {
	return fmt.Sprintf("%s-%d-%d", sort, id, used)
}

// resume returns the rest of a list that is kept.
func (l *lists) resume(q *ConnQuery) (*foundConns, error) {
	parts := strings.Split(q.After, "-")
	if len(parts) != 3 || parts[0] != string(q.Sort) {
		return nil, ErrAfter
	}
	id, err := strconv.ParseUint(parts[1], 10, 64)
	from, err2 := strconv.ParseUint(parts[2], 10, 31)
	if err != nil || err2 != nil {
		return nil, ErrAfter
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.all[id]
	switch {
	case list == nil && id <= l.last:
		return nil, ErrExpired
	case list == nil, list.filter != q.ConnFilter, list.sort != q.Sort, from > uint64(len(list.keys)):
		return nil, ErrAfter
	}
	list.used = time.Now()
	next := func(_ *lists, used int) string { return listText(q.Sort, id, int(from)+used) }
	return &foundConns{len(list.keys), list.keys[from:], next}, nil
}

// expireLater makes sure that no list is kept for long after its last use.
func (l *lists) expireLater() {
	if l.expiry == nil {
		l.expiry = time.AfterFunc(listKept, l.expire)
	}
}

func (l *lists) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expiry = nil
	for id, list := range l.all {
		if time.Since(list.used) >= listKept {
			delete(l.all, id)
		}
	}
	if len(l.all) > 0 {
		l.expireLater()
	}
}
