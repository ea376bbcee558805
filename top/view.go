package top

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"l4proxy/internal/term"
)

// View is the whole screen.
func (m *model) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	return v
}

func (m *model) style() term.Screen { return term.Screen{Width: m.width, Color: m.options.Color} }

// screen is the text of the view: exactly as many lines as the terminal has, none wider than it.
func (m *model) screen() string {
	head := m.head()
	var body []string
	switch {
	case m.help:
		body = help()
	case m.last == nil:
		body = []string{"waiting for " + m.options.Address + " ..."}
	default:
		body = m.current().lines(m.style(), m.room())
	}
	room := max(0, m.height-len(head)-1)
	body = body[:min(len(body), room)]
	for len(body) < room {
		body = append(body, "")
	}
	lines := append(append(head, body...), m.foot())
	if len(lines) > m.height { // the last line has the question
		lines = append(lines[:max(0, m.height-1)], m.foot())
	}
	for i, line := range lines {
		lines[i] = term.End(line, m.width)
	}
	return strings.Join(lines, "\n")
}

// room is how many lines the table has, its header included.
func (m *model) room() int { return max(2, m.height-len(m.head())-1) }

// head is what stands above the table.
func (m *model) head() []string {
	if m.last == nil {
		lines := []string{"l4proxy at " + m.options.Address}
		if m.failure != nil {
			lines = append(lines, m.disconnected())
		}
		return lines
	}
	lines := []string{m.title()}
	if m.help {
		return lines
	}
	if m.height >= 8 {
		lines = append(lines, m.traffic())
	}
	if m.failure != nil {
		lines = append(lines, m.disconnected())
	}
	lines = append(lines, m.problemLines()...)
	return append(lines, m.tabLine())
}

func (m *model) title() string {
	s, style := m.last.status, m.style()
	state := style.Paint(term.Good, "ready")
	if !s.Ready {
		state = style.Paint(term.Bad, "not ready: "+term.Line(s.NotReady))
	}
	left := fmt.Sprintf("%s %s, pid %d, up %s, %s", style.Paint(term.Strong, "l4proxy"), term.Line(s.Version), s.PID, since(m.now, s.Started), state)
	right := "every " + m.options.Interval.String()
	if m.paused {
		right = style.Paint(term.Warn, "paused, space continues")
	}
	if space := m.width - term.Width(left) - term.Width(right); space >= 2 {
		return left + strings.Repeat(" ", space) + right
	}
	if m.paused {
		return right + "  " + left
	}
	return left
}

// traffic is the line about all listeners together.
func (m *model) traffic() string {
	s, r := m.last.status, &m.rates.all
	parts := []string{fmt.Sprintf("%d of %d connections", s.Connections, s.MaxConnections)}
	for _, p := range []struct {
		rate   float64
		format func(float64) string
		name   string
	}{{r.accepted, term.Rate, "new"}, {r.in, term.BytesRate, "in"}, {r.out, term.BytesRate, "out"}} {
		if p.rate != unknown {
			parts = append(parts, p.format(p.rate)+" "+p.name)
		}
	}
	if share := busy(m.last); share != unknown {
		parts = append(parts, fmt.Sprintf("loops %.0f%% busy", share*100))
	}
	return strings.Join(parts, ", ")
}

func (m *model) disconnected() string {
	text := fmt.Sprintf("disconnected for %s, retrying: %s", since(m.now, m.since), term.Line(m.failure.Error()))
	return m.style().Paint(term.Bad, text)
}

// problemLines leave most of the screen to the table.
func (m *model) problemLines() []string {
	most := max(1, (m.height-6)/4)
	if m.failure != nil {
		return nil // what was wrong may have passed
	}
	var lines []string
	for i, p := range m.problems {
		if i == most-1 && len(m.problems) > most {
			lines = append(lines, m.style().Paint(term.Bad, fmt.Sprintf("! and %s: see l4proxy status", term.Count(len(m.problems)-i, "other problem"))))
			break
		}
		lines = append(lines, m.style().Paint(p.Tone, "! ")+term.Line(p.Text))
	}
	return lines
}

// tabLine names the tabs, with the number of lines of each.
func (m *model) tabLine() string {
	names := [tabs]string{"Listeners", "Pools", "Backends", "Connections"}
	counts := [tabs]int{len(m.listeners.all), len(m.pools.all), len(m.backends.all), m.last.status.Connections}
	var parts []string
	for i, name := range names {
		text := fmt.Sprintf(" %d %s %d ", i+1, name, counts[i])
		if m.width < 66 { // all four would not fit
			text = fmt.Sprintf(" %d %s ", i+1, name[:4])
		}
		if i == m.tab {
			text = reversed(text)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

// foot is the last line: a question, the filter that is being typed, a note, or the position and
// the keys.
func (m *model) foot() string {
	style := m.style()
	switch {
	case m.question != nil:
		end := " (y/n)"
		return style.Paint(term.Warn, term.End(term.Line(m.question.text), m.width-len(end))+end)
	case m.editing:
		return "filter: " + term.Line(m.current().filtered()) + reversed(" ")
	case m.note.text != "" && m.now.Before(m.note.until):
		tone := term.Strong
		if m.note.bad {
			tone = term.Bad
		}
		return style.Paint(tone, term.Line(m.note.text))
	case m.help:
		return "any key returns"
	case m.last == nil:
		return "q quit"
	}
	return m.position() + "  " + style.Paint(term.Faint, m.keys())
}

// position says which part of what is shown, and in which order.
func (m *model) position() string {
	pane := m.current()
	first, last := pane.window()
	shown, all := pane.count()
	text := fmt.Sprintf("%d-%d of %d", first, last, shown)
	if shown == 0 {
		text = "none"
	}
	if shown < all {
		text += fmt.Sprintf(" (of %d)", all)
	}
	if m.tab == tabConnections && m.page != nil && m.page.Matched > all {
		text += fmt.Sprintf(", the first of %d", m.page.Matched)
	}
	for _, r := range m.restrictions() {
		text += ", " + r
	}
	return text + ", " + pane.sortedBy()
}

// restrictions are what keeps lines from being shown.
func (m *model) restrictions() (all []string) {
	add := func(name, value string) {
		if value != "" {
			all = append(all, name+" "+term.Line(value))
		}
	}
	switch m.tab {
	case tabBackends:
		add("pool", m.pool)
	case tabConnections:
		add("listener", m.query.Listener)
		add("pool", m.query.Pool)
		add("backend", m.query.Backend)
		if m.query.From.IsValid() {
			add("from", m.query.From.String())
		}
	}
	add("filter", m.current().filtered())
	return all
}

func (m *model) keys() string {
	switch m.tab {
	case tabListeners, tabBackends:
		return "? help  q quit  d drain  / filter  s sort  enter connections"
	case tabPools:
		return "? help  q quit  / filter  s sort  enter backends"
	}
	return "? help  q quit  x kill  / filter  s sort"
}

// help explains the keys.
func help() []string {
	return strings.Split(`
  1 2 3 4, tab        listeners, pools, backends, connections
  up down, j k        move; page up and page down, g and G too
  enter               the connections of a listener, a backend or a client;
                      the backends of a pool
  /                   filter by text; for connections also by an address or
                      a prefix such as 10.1.0.0/16
  esc                 clear the filter, then the restriction
  s, S                sort by the next column; reverse
  d                   drain a listener or a backend, or put it back
  x                   end a connection
  space               pause
  q                   quit

Rates are per second, since the last update. NEW: accepted clients, or
clients sent to a backend. FAILED: clients that were allowed and not
served, or dials that failed.`, "\n")
}
