package top

import (
	"context"
	"net/netip"
	"time"

	tea "charm.land/bubbletea/v2"

	"l4proxy/admin"
)

// The tabs, by the number of their key.
const (
	tabListeners = iota
	tabPools
	tabBackends
	tabConnections
	tabs
)

// noteTime is how long a note stays.
const noteTime = 10 * time.Second

// model is the state of the view. Its methods run on the goroutine of the tea.Program, and requests
// on others, which get values only.
type model struct {
	ctx     context.Context
	source  Source
	options Options

	width, height int
	now           time.Time

	last  *sample // nil: none yet
	rates rates
	// problems and drains are of the last sample.
	problems []Problem
	drains   map[string]bool
	page     *admin.ConnectionPage
	// failure is why there is no newer sample; since when.
	failure error
	since   time.Time
	// sampling and listing say that a request is in flight.
	sampling, listing bool
	paused            bool

	tab         int
	listeners   *list[listenerItem]
	pools       *list[poolItem]
	backends    *list[backendItem]
	connections *list[admin.Connection]
	// pool restricts the backends, query the connections.
	pool  string
	query admin.ConnectionQuery

	editing  bool // the filter
	help     bool
	question *question
	note     note
}

// question waits for y or n.
type question struct {
	text string
	run  func() tea.Msg
}

// note says what became of something that the user did.
type note struct {
	text  string
	bad   bool
	until time.Time
}

// Messages.
type (
	ticked  time.Time
	sampled struct {
		sample *sample
		err    error
	}
	listed struct {
		query admin.ConnectionQuery
		page  *admin.ConnectionPage
		err   error
	}
	acted struct {
		text string
		err  error
	}
)

func newModel(ctx context.Context, source Source, o Options) *model {
	return &model{
		ctx: ctx, source: source, options: o, now: time.Now(), width: 80, height: 24,
		listeners: newListeners(), pools: newPools(), backends: newBackends(), connections: newConnections(),
		rates: ratesOf(nil, nil), query: admin.ConnectionQuery{Sort: "rate", Limit: busiest},
	}
}

// Init asks for the first sample.
func (m *model) Init() tea.Cmd { return tea.Batch(m.request(), m.tick()) }

func (m *model) tick() tea.Cmd {
	return tea.Tick(m.options.Interval, func(now time.Time) tea.Msg { return ticked(now) })
}

// request asks for what the tab shows, unless that is being asked for already.
func (m *model) request() tea.Cmd {
	var all []tea.Cmd
	if !m.sampling {
		m.sampling = true
		ctx, source := m.ctx, m.source
		all = append(all, func() tea.Msg {
			s, err := take(ctx, source)
			return sampled{s, err}
		})
	}
	if m.tab == tabConnections && !m.listing {
		m.listing = true
		ctx, source, query := m.ctx, m.source, m.query
		all = append(all, func() tea.Msg {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			page, err := source.Connections(ctx, query)
			return listed{query, page, err}
		})
	}
	return tea.Batch(all...)
}

// Update takes a message.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case ticked:
		m.now = time.Time(msg)
		if m.paused {
			return m, m.tick()
		}
		return m, tea.Batch(m.request(), m.tick())
	case sampled:
		m.sampling = false
		m.sampled(msg)
	case listed:
		m.listing = false
		return m, m.listed(msg)
	case acted:
		m.acted(msg)
		return m, m.request() // to see what it has done
	case tea.PasteMsg:
		if m.editing {
			m.typed(msg.Content)
		}
	case tea.KeyPressMsg:
		return m, m.key(msg)
	}
	return m, nil
}

func (m *model) sampled(msg sampled) {
	if msg.err != nil {
		if m.failure == nil {
			m.since = m.now
		}
		m.failure = m.explained(msg.err)
		return
	}
	m.failure = nil
	m.now = msg.sample.at
	if m.paused {
		return
	}
	m.rates = ratesOf(msg.sample, m.last)
	m.last = msg.sample
	m.problems = m.options.Problems(msg.sample.status, msg.sample.at)
	m.drains = make(map[string]bool)
	for i := range msg.sample.status.Drains {
		m.drains[msg.sample.status.Drains[i].What()] = true
	}
	m.fill()
}

// listed takes a page of connections, unless the user asks for others by now.
func (m *model) listed(msg listed) tea.Cmd {
	switch {
	case msg.query != m.query:
		return m.request()
	case msg.err != nil && m.failure == nil:
		m.say(m.explained(msg.err).Error(), true)
	case msg.err == nil && !m.paused:
		m.page = msg.page
		m.connections.set(msg.page.Connections)
	}
	return nil
}

func (m *model) acted(msg acted) {
	if msg.err != nil {
		m.say(m.explained(msg.err).Error(), true)
		return
	}
	m.say(msg.text, false)
}

func (m *model) explained(err error) error {
	if m.options.Explain == nil {
		return err
	}
	return m.options.Explain(err)
}

func (m *model) say(text string, bad bool) { m.note = note{text, bad, m.now.Add(noteTime)} }

// current is the pane of the tab.
func (m *model) current() pane {
	switch m.tab {
	case tabListeners:
		return m.listeners
	case tabPools:
		return m.pools
	case tabBackends:
		return m.backends
	}
	return m.connections
}

// show changes to a tab.
func (m *model) show(tab int) tea.Cmd {
	m.tab = (tab + tabs) % tabs
	if m.tab == tabConnections {
		return m.request()
	}
	return nil
}

// restrict changes which connections are listed.
func (m *model) restrict(f admin.ConnectionFilter) tea.Cmd {
	m.query.ConnectionFilter = f
	m.page = nil
	m.connections.set(nil)
	return m.show(tabConnections)
}

// onlyPool restricts the backends to a pool; "" to all.
func (m *model) onlyPool(pool string) {
	m.pool = pool
	m.backends.only = nil
	if pool != "" {
		m.backends.only = func(b *backendItem) bool { return b.pool == pool }
	}
	m.backends.refresh()
}

// from restricts a filter to what a text means if it is an address or a prefix: the proxy searches
// among all connections then, not the view among those that are here.
func from(f admin.ConnectionFilter, text string) (_ admin.ConnectionFilter, ok bool) {
	p, err := netip.ParsePrefix(text)
	if addr, failed := netip.ParseAddr(text); failed == nil {
		addr = addr.Unmap().WithZone("")
		p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err == nil {
		err = f.From.UnmarshalText([]byte(p.Masked().String()))
	}
	return f, err == nil
}
