package route

import (
	"fmt"
	"strings"
)

// Route says which clients it takes. Empty conditions are met by every client; a route without any
// takes all.
type Route struct {
	// Names are server names: "db.example.com", or "*.example.com" for all names below
	// example.com, at any depth, but not for example.com itself. Upper and lower case are the same,
	// and so are names with and without a dot at the end. One of them has to match.
	Names []string
	// ALPN are protocols such as "h2", byte for byte as clients write them. The client has to offer
	// one of them.
	ALPN []string
	// Speaks restricts the route to clients that speak TLS or to those that do not. Names and ALPN
	// are met by TLS only.
	Speaks Speaks
}

// Speaks is a condition on what a client speaks.
type Speaks uint8

// The conditions on what a client speaks.
const (
	Anything Speaks = iota
	TLS
	NotTLS
)

// Table is a list of routes in the form in which they are looked up. It never changes. The nil
// Table has no routes.
type Table struct {
	exact    map[string][]candidate
	suffix   map[string][]candidate // by what follows the star: ".example.com"
	nameless []candidate            // take TLS with any name
	plain    []candidate            // take clients without TLS
	routes   []Route
}

// candidate is a route that takes clients with some name if they offer one of its protocols.
type candidate struct {
	index int
	alpn  []string // empty: whatever the client offers
}

// Build makes a table. Find returns indexes into routes, which must not change from then on.
func Build(routes []Route) (*Table, error) {
	t := &Table{exact: map[string][]candidate{}, suffix: map[string][]candidate{}, routes: routes}
	for i, r := range routes {
		c := candidate{index: i, alpn: r.ALPN}
		needsTLS := len(r.Names) > 0 || len(r.ALPN) > 0
		if needsTLS && r.Speaks == NotTLS {
			return nil, fmt.Errorf("route %d: a client without TLS has no server name and no ALPN", i)
		}
		if !needsTLS && r.Speaks != TLS {
			t.plain = append(t.plain, c)
		}
		if len(r.Names) == 0 && r.Speaks != NotTLS {
			t.nameless = append(t.nameless, c)
		}
		for _, name := range r.Names {
			if err := t.add(name, c); err != nil {
				return nil, fmt.Errorf("route %d: %w", i, err)
			}
		}
	}
	return t, nil
}

// add enters a route under one of its names.
func (t *Table) add(name string, c candidate) error {
	folded := Fold(name)
	below, wild := strings.CutPrefix(folded, "*.")
	if below == "" || strings.Contains(below, "*") || strings.HasPrefix(below, ".") {
		return fmt.Errorf("server name %q: want a name or *.suffix", name)
	}
	if wild {
		key := folded[1:]
		t.suffix[key] = append(t.suffix[key], c)
		return nil
	}
	t.exact[folded] = append(t.exact[folded], c)
	return nil
}

// Fold returns the form of a server name in which names are compared: in lower case and without a
// dot at the end.
func Fold(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// String says which clients the route takes, as a configuration has it.
func (r Route) String() string {
	var parts []string
	if len(r.Names) > 0 {
		parts = append(parts, "sni "+strings.Join(r.Names, ", "))
	}
	if len(r.ALPN) > 0 {
		parts = append(parts, "alpn "+strings.Join(r.ALPN, ", "))
	}
	switch r.Speaks {
	case TLS:
		parts = append(parts, "any TLS")
	case NotTLS:
		parts = append(parts, "no TLS")
	case Anything:
	}
	if parts == nil {
		return "all clients"
	}
	return strings.Join(parts, "; ")
}
