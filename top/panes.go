package top

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"l4proxy/admin"
	"l4proxy/internal/term"
)

// pane is one of the tables, whatever its items are.
type pane interface {
	lines(s term.Screen, height int) []string
	move(by int)
	sortNext()
	reverse()
	setFilter(text string)
	filtered() string
	count() (shown, all int)
	window() (first, last int)
	sortedBy() string
}

type listenerItem struct {
	*admin.ListenerStatus
	drained bool
	rates   listenerRates
}

type poolItem struct {
	*admin.PoolStatus
	connections int64
	usable      int
	rates       poolRates
}

type backendItem struct {
	*admin.BackendStatus
	pool    string
	drained bool
	since   string
	rates   backendRates
}

// text is a column of words that sorts by alphabet.
func text[T any](head string, least int, of func(*T) string) column[T] {
	return column[T]{
		Column:  term.Text(head).Short(least),
		cell:    func(item *T) term.Cell { return term.Cell{Text: of(item)} },
		compare: func(a, b *T) int { return cmp.Compare(of(a), of(b)) },
	}
}

// number is a column of numbers; sorted by it, the largest are on top.
func number[T any](head string, width int, of func(*T) float64, format func(float64) string) column[T] {
	return column[T]{
		Column: term.Number(head), width: width,
		cell: func(item *T) term.Cell {
			n := of(item)
			if n == unknown {
				return term.Cell{Text: "-", Tone: term.Faint}
			}
			return term.Cell{Text: format(n)}
		},
		compare: func(a, b *T) int { return cmp.Compare(of(b), of(a)) },
	}
}

// trouble is a number that is better 0.
func trouble[T any](c column[T], of func(*T) float64) column[T] {
	plain := c.cell
	c.cell = func(item *T) term.Cell {
		cell := plain(item)
		if of(item) > 0 {
			cell.Tone = term.Warn
		}
		return cell
	}
	return c
}

// state is a column of states; sorted by it, the worst are on top.
func state[T any](of func(*T) string) column[T] {
	rank := func(item *T) int {
		switch term.State(of(item)).Tone {
		case term.Bad:
			return 0
		case term.Warn:
			return 1
		}
		return 2
	}
	return column[T]{
		Column: term.Text("STATE"), width: len("draining"),
		cell:    func(item *T) term.Cell { return term.State(of(item)) },
		compare: func(a, b *T) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(of(a), of(b))) },
	}
}

// optional lets a column be left out on a narrow screen, the highest order first.
func optional[T any](order int, c column[T]) column[T] {
	c.Column = c.Optional(order)
	return c
}

func plain(n float64) string { return strconv.FormatInt(int64(n), 10) }

// limit writes 0 as no limit.
func limit(n float64) string {
	if n == 0 {
		return "-"
	}
	return plain(n)
}

func newListeners() *list[listenerItem] {
	type item = listenerItem
	denied := func(l *item) float64 { return l.rates.denied }
	failed := func(l *item) float64 { return l.rates.failed }
	return &list[item]{
		sort: -1,
		key:  func(l *item) string { return l.Name },
		text: func(l *item) string { return fmt.Sprint(l.Name, " ", l.Addresses, " ", l.Pools(), " ", l.State) },
		columns: []column[item]{
			text("LISTENER", 8, func(l *item) string { return l.Name }),
			optional(4, text("ADDRESS", 10, func(l *item) string { return addresses(l.Addresses) })),
			optional(5, text("POOL", 8, func(l *item) string { return strings.Join(l.Pools(), ", ") })),
			state(func(l *item) string { return l.State }),
			number("CONNS", 6, func(l *item) float64 { return float64(l.Connections) }, plain),
			optional(6, number("LIMIT", 5, func(l *item) float64 { return float64(l.MaxConnections) }, limit)),
			number("NEW", 6, func(l *item) float64 { return l.rates.accepted }, term.Rate),
			optional(2, trouble(number("DENIED", 6, denied, term.Rate), denied)),
			optional(1, trouble(number("FAILED", 6, failed, term.Rate), failed)),
			optional(3, number("IN", 9, func(l *item) float64 { return l.rates.in }, term.BytesRate)),
			optional(3, number("OUT", 9, func(l *item) float64 { return l.rates.out }, term.BytesRate)),
		},
	}
}

func newPools() *list[poolItem] {
	type item = poolItem
	queued := func(p *item) float64 { return float64(p.Queued) }
	failed := func(p *item) float64 { return p.rates.failed }
	return &list[item]{
		sort: -1,
		key:  func(p *item) string { return p.Name },
		text: func(p *item) string { return p.Name + " " + p.Policy + " " + p.state() },
		columns: []column[item]{
			text("POOL", 8, func(p *item) string { return p.Name }),
			optional(2, text("POLICY", 8, func(p *item) string { return p.Policy })),
			state((*item).state),
			number("USABLE", 7, func(p *item) float64 { return float64(p.usable) }, plain),
			number("OF", 5, func(p *item) float64 { return float64(len(p.Backends)) }, plain),
			number("CONNS", 6, func(p *item) float64 { return float64(p.connections) }, plain),
			optional(1, trouble(number("QUEUED", 6, queued, plain), queued)),
			optional(4, number("DIALS", 7, func(p *item) float64 { return p.rates.dials }, term.Rate)),
			optional(3, trouble(number("FAILED", 6, failed, term.Rate), failed)),
			optional(5, number("DIAL P50", 7, func(p *item) float64 { return p.rates.p50 }, term.Millis)),
			optional(5, number("P99", 7, func(p *item) float64 { return p.rates.p99 }, term.Millis)),
		},
	}
}

// state is the state of a pool as a whole.
func (p *poolItem) state() string {
	switch {
	case !p.Serving:
		return "down"
	case p.usable < len(p.Backends):
		return "degraded"
	}
	return "up"
}

func newBackends() *list[backendItem] {
	type item = backendItem
	failed := func(b *item) float64 { return b.rates.failed }
	return &list[item]{
		sort: -1,
		key:  func(b *item) string { return b.pool + " " + b.Address + " " + b.Resolved },
		text: func(b *item) string {
			return b.pool + " " + b.Address + " " + b.Resolved + " " + b.State + " " + b.Error
		},
		columns: []column[item]{
			text("POOL", 6, func(b *item) string { return b.pool }),
			text("BACKEND", 12, backendName),
			state(func(b *item) string { return b.State }),
			optional(3, column[item]{
				Column: term.Number("FOR"), width: len("59m59s"),
				cell: func(b *item) term.Cell { return term.Cell{Text: b.since} },
			}),
			number("CONNS", 6, func(b *item) float64 { return float64(b.Connections) }, plain),
			optional(6, number("LIMIT", 5, func(b *item) float64 { return float64(b.MaxConnections) }, limit)),
			optional(5, number("WEIGHT", 6, func(b *item) float64 { return float64(b.Weight) }, plain)),
			optional(1, number("NEW", 6, func(b *item) float64 { return b.rates.picked }, term.Rate)),
			optional(2, trouble(number("FAILED", 6, failed, term.Rate), failed)),
			optional(7, text("ERROR", 8, func(b *item) string { return b.Error })),
		},
	}
}

func backendName(b *backendItem) string {
	name := b.Address
	if b.Resolved != "" {
		name += " (" + b.Resolved + ")"
	}
	if b.Backup {
		name += ", backup"
	}
	return name
}

// orders are what GET /api/v1/connections can sort by, by column.
var orders = map[string]string{"AGE": "age", "IDLE": "idle", "BYTES": "bytes", "RATE": "rate"}

func newConnections() *list[admin.Connection] {
	type item = admin.Connection
	fixed := func(c column[item]) column[item] { // the proxy does not sort by it
		c.compare = nil
		return c
	}
	l := &list[item]{
		key: func(c *item) string { return c.ID },
		text: func(c *item) string {
			return c.Client + " " + c.Listener + " " + c.Pool + " " + c.Backend + " " + c.State
		},
		columns: []column[item]{
			fixed(text("CLIENT", 12, func(c *item) string { return c.Client })),
			optional(4, fixed(text("LISTENER", 8, func(c *item) string { return c.Listener }))),
			fixed(text("BACKEND", 12, func(c *item) string { return c.Backend })),
			optional(5, fixed(state(func(c *item) string { return c.State }))),
			number("AGE", 6, func(c *item) float64 { return c.Age }, term.Seconds),
			optional(3, number("IDLE", 6, func(c *item) float64 { return c.Idle }, term.Seconds)),
			optional(2, number("BYTES", 7, func(c *item) float64 { return float64(c.BytesIn + c.BytesOut) }, term.Bytes)),
			number("RATE", 9, func(c *item) float64 { return c.RateIn + c.RateOut }, term.BytesRate),
			optional(8, fixed(number("IN", 9, func(c *item) float64 { return c.RateIn }, term.BytesRate))),
			optional(8, fixed(number("OUT", 9, func(c *item) float64 { return c.RateOut }, term.BytesRate))),
			optional(7, fixed(number("RTT", 7, clientRTT, term.Millis))),
		},
	}
	l.always = true
	for i := range l.columns {
		if l.columns[i].Head == "RATE" {
			l.sort = i
		}
	}
	return l
}

func clientRTT(c *admin.Connection) float64 {
	if c.ClientTCP == nil {
		return unknown
	}
	return c.ClientTCP.RTT
}

// addresses names the first of the addresses of a listener.
func addresses(all []string) string {
	switch len(all) {
	case 0:
		return "-"
	case 1:
		return all[0]
	}
	return fmt.Sprintf("%s and %d more", all[0], len(all)-1)
}

// fill gives the panes of a sample their items.
func (m *model) fill() {
	s := m.last.status
	listeners := make([]listenerItem, len(s.Listeners))
	for i := range s.Listeners {
		l := &s.Listeners[i]
		listeners[i] = listenerItem{l, m.drained(admin.Drain{Listener: l.Name}), m.rates.listener(l.Name)}
	}
	m.listeners.set(listeners)
	pools := make([]poolItem, len(s.Pools))
	var backends []backendItem
	for i := range s.Pools {
		p := &s.Pools[i]
		pools[i] = poolItem{PoolStatus: p, rates: m.rates.pool(p.Name)}
		for j := range p.Backends {
			b := &p.Backends[j]
			item := backendItem{BackendStatus: b, pool: p.Name, since: "-", rates: m.rates.backend(keyOf(p.Name, b))}
			item.drained = m.drained(admin.Drain{Pool: p.Name, Backend: b.Address})
			if b.Since != nil {
				item.since = term.Ago(m.last.at.Sub(*b.Since))
			}
			backends = append(backends, item)
			pools[i].connections += b.Connections
			if b.State == admin.BackendUp || b.State == admin.BackendUnknown {
				pools[i].usable++
			}
		}
	}
	m.pools.set(pools)
	m.backends.set(backends)
}

// drained reports whether an operator has drained a listener or a backend.
func (m *model) drained(d admin.Drain) bool {
	return m.drains[d.What()]
}

// busy is the mean share of its time that an event loop works; unknown without stats.
func busy(s *sample) float64 {
	if s.stats == nil || len(s.stats.Busy) == 0 {
		return unknown
	}
	sum := 0.0
	for _, share := range s.stats.Busy {
		sum += share
	}
	return sum / float64(len(s.stats.Busy))
}

// since is a time on the clock of this machine.
func since(now, then time.Time) string { return term.Ago(now.Sub(then)) }

// host is the address of a client without its port, as filters take it.
func host(client string) string {
	if h, _, err := net.SplitHostPort(client); err == nil {
		return h
	}
	return client
}
