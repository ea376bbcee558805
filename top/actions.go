package top

import (
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"

	"l4proxy/admin"
	"l4proxy/internal/term"
)

// answer takes a key while a question is asked. Anything but y is no.
func (m *model) answer(name string) tea.Cmd {
	run := m.question.run
	m.question = nil
	if name != "y" && name != "Y" {
		m.say("nothing was changed", false)
		return nil
	}
	return run
}

// askDrain asks whether to drain the selected listener or backend, or to put it back.
func (m *model) askDrain() {
	var q admin.DrainRequest
	var left int64
	switch l, b := m.listeners.current(), m.backends.current(); {
	case m.tab == tabListeners && l != nil:
		q, left = admin.DrainRequest{Listener: l.Name, Undo: l.drained}, l.Connections
	case m.tab == tabBackends && b != nil:
		q, left = admin.DrainRequest{Pool: b.pool, Backend: b.Address, Undo: b.drained}, b.Connections
	default:
		m.say("to drain, select a listener (1) or a backend (3)", true)
		return
	}
	what := (&admin.Drain{Listener: q.Listener, Pool: q.Pool, Backend: q.Backend}).What()
	text := fmt.Sprintf("drain %s? no new clients; %s until they end", what, stay(left))
	if q.Undo {
		text = fmt.Sprintf("put %s back into service?", what)
	}
	ctx, source, describe := m.ctx, m.source, m.options.Describe
	m.question = &question{text, func() tea.Msg {
		drain, err := source.Drain(ctx, q)
		if err != nil {
			return acted{err: err}
		}
		return acted{text: describe(drain, time.Now())}
	}}
}

func stay(connections int64) string {
	if connections == 1 {
		return "1 connection stays"
	}
	return term.Count(int(connections), "connection") + " stay"
}

// askKill asks whether to end the selected connection.
func (m *model) askKill() {
	c := m.connections.current()
	switch {
	case m.tab != tabConnections:
		m.say("to end a connection, select it (4)", true)
		return
	case c == nil:
		m.say("no connection is listed", true)
		return
	}
	ctx, source, id, client := m.ctx, m.source, c.ID, c.Client
	m.question = &question{fmt.Sprintf("end the connection of %s to %s?", c.Client, c.Backend), func() tea.Msg {
		done, err := source.Kill(ctx, admin.KillRequest{ID: id})
		switch {
		case err != nil:
			return acted{err: err}
		case done.Matched == 0:
			return acted{text: "that connection has ended already"}
		}
		return acted{text: "ended the connection of " + client}
	}}
}
