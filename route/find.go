package route

import (
	"slices"
	"strings"

	"l4proxy/clienthello"
)

// None is the index of no route.
const None = -1

// Find returns the index of the route that takes a client with this hello, or None; nil is a
// client that has sent nothing. It allocates nothing. The name in the hello is folded, as
// clienthello.Parse does it.
func (t *Table) Find(h *clienthello.Hello) int {
	if t == nil || h == nil {
		return None
	}
	if !h.TLS {
		return pick(t.plain, nil)
	}
	if name := h.ServerName; name != "" {
		if i := pick(t.exact[name], h.ALPN); i != None {
			return i
		}
		// Suffixes from the longest to the shortest; a star stands for at least one label.
		for dot := strings.IndexByte(name, '.'); len(t.suffix) > 0 && dot >= 0; {
			if i := pick(t.suffix[name[dot:]], h.ALPN); i != None {
				return i
			}
			next := strings.IndexByte(name[dot+1:], '.')
			if next < 0 {
				break
			}
			dot += 1 + next
		}
	}
	return pick(t.nameless, h.ALPN)
}

// pick returns the first candidate that takes a client that offers these protocols.
func pick(candidates []candidate, offered []string) int {
	for i := range candidates {
		c := &candidates[i]
		if len(c.alpn) == 0 {
			return c.index
		}
		for _, protocol := range offered {
			if slices.Contains(c.alpn, protocol) {
				return c.index
			}
		}
	}
	return None
}

// Routes are the routes of the table, in their order. They must not be changed.
func (t *Table) Routes() []Route {
	if t == nil {
		return nil
	}
	return t.routes
}

// Len returns the number of routes.
func (t *Table) Len() int { return len(t.Routes()) }
