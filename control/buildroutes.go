package control

import (
	"fmt"

	"l4proxy/config"
	"l4proxy/route"
)

// buildRoutes makes the table of a listener's routes, and the names of their pools; nil for a
// listener without routes.
func buildRoutes(l *config.Listener) (*route.Table, []string, error) {
	if len(l.Routes) == 0 {
		return nil, nil, nil
	}
	routes := make([]route.Route, len(l.Routes))
	pools := make([]string, len(l.Routes))
	for i := range l.Routes {
		r := &l.Routes[i]
		routes[i] = route.Route{Names: r.SNI, ALPN: r.ALPN, Speaks: speaks(r.TLS)}
		pools[i] = r.Pool
	}
	table, err := route.Build(routes)
	if err != nil { // not of a validated configuration
		return nil, nil, fmt.Errorf("listener %s: %w", l.Name, err)
	}
	return table, pools, nil
}

func speaks(tls *bool) route.Speaks {
	switch {
	case tls == nil:
		return route.Anything
	case *tls:
		return route.TLS
	}
	return route.NotTLS
}
