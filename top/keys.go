package top

import (
	"strings"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"l4proxy/admin"
)

// maxFilter bounds a filter, which could be pasted.
const maxFilter = 100

// key does what a key stands for.
func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	name := k.String()
	m.note = note{} // it was read
	switch {
	case name == "ctrl+c":
		return tea.Quit
	case name == "ctrl+z":
		return tea.Suspend
	case m.question != nil:
		return m.answer(name)
	case m.editing:
		return m.edit(name, k.Text)
	case m.help:
		m.help = false // any key
		if name == "q" {
			return tea.Quit
		}
		return nil
	}
	if by, ok := m.distance(name); ok {
		m.current().move(by)
		return nil
	}
	return m.command(name)
}

// distance is how far a key moves the cursor.
func (m *model) distance(name string) (by int, ok bool) {
	const all = 1 << 30
	page := max(1, m.room()-2)
	switch name {
	case "down", "j":
		return 1, true
	case "up", "k":
		return -1, true
	case "pgdown", "ctrl+f":
		return page, true
	case "pgup", "ctrl+b":
		return -page, true
	case "home", "g":
		return -all, true
	case "end", "G":
		return all, true
	}
	return 0, false
}

func (m *model) command(name string) tea.Cmd {
	switch name {
	case "q":
		return tea.Quit
	case "?":
		m.help = true
	case "1", "2", "3", "4":
		return m.show(int(name[0] - '1'))
	case "tab", "right", "l":
		return m.show(m.tab + 1)
	case "shift+tab", "left", "h":
		return m.show(m.tab - 1)
	case "/":
		m.editing = true
	case "esc":
		return m.clear()
	case "enter":
		return m.open()
	case "s":
		m.current().sortNext()
		return m.resort()
	case "S":
		m.current().reverse()
	case "space":
		m.paused = !m.paused
		if !m.paused {
			return m.request()
		}
	case "d":
		m.askDrain()
	case "x":
		m.askKill()
	}
	return nil
}

// resort asks the proxy for the connections in another order: it has more of them than are here.
func (m *model) resort() tea.Cmd {
	order := orders[m.connections.columns[m.connections.sort].Head]
	if m.tab != tabConnections || order == "" || order == m.query.Sort {
		return nil
	}
	m.query.Sort = order
	return m.request()
}

// edit changes the filter.
func (m *model) edit(name, typed string) tea.Cmd {
	pane := m.current()
	switch name {
	case "enter":
		m.editing = false
		if f, ok := from(m.query.ConnectionFilter, pane.filtered()); ok && m.tab == tabConnections {
			pane.setFilter("")
			return m.restrict(f)
		}
	case "esc":
		m.editing = false
		pane.setFilter("")
	case "backspace":
		_, size := utf8.DecodeLastRuneInString(pane.filtered())
		pane.setFilter(pane.filtered()[:len(pane.filtered())-size])
	case "ctrl+u":
		pane.setFilter("")
	default:
		m.typed(typed)
	}
	return nil
}

func (m *model) typed(text string) {
	pane := m.current()
	if all := pane.filtered() + strings.Join(strings.Fields(text), " "); text == " " {
		pane.setFilter(pane.filtered() + " ")
	} else if utf8.RuneCountInString(all) <= maxFilter {
		pane.setFilter(all)
	}
}

// clear takes back the filter, or else what enter has restricted.
func (m *model) clear() tea.Cmd {
	switch {
	case m.current().filtered() != "":
		m.current().setFilter("")
	case m.tab == tabBackends:
		m.onlyPool("")
	case m.tab == tabConnections && m.query.ConnectionFilter != admin.ConnectionFilter{}:
		return m.restrict(admin.ConnectionFilter{})
	}
	return nil
}

// open shows what belongs to the selected line: the connections of a listener or a backend, the
// backends of a pool, the other connections of a client.
func (m *model) open() tea.Cmd {
	switch m.tab {
	case tabListeners:
		if l := m.listeners.current(); l != nil {
			return m.restrict(admin.ConnectionFilter{Listener: l.Name})
		}
	case tabPools:
		if p := m.pools.current(); p != nil {
			m.onlyPool(p.Name)
			return m.show(tabBackends)
		}
	case tabBackends:
		if b := m.backends.current(); b != nil {
			f := admin.ConnectionFilter{Pool: b.pool, Backend: b.Address}
			if b.Resolved != "" {
				f.Backend = b.Resolved
			}
			return m.restrict(f)
		}
	case tabConnections:
		if c := m.connections.current(); c != nil {
			if f, ok := from(admin.ConnectionFilter{}, host(c.Client)); ok {
				return m.restrict(f)
			}
		}
	}
	return nil
}
