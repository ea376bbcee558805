package main

import (
	"fmt"
	"slices"
	"strings"

	"l4proxy/admin"
	"l4proxy/control"
)

// namesShown is how many names a hint lists.
const namesShown = 10

// unknownName returns an error if a filter that has selected no connection names something that
// does not exist. What the configuration no longer has still exists while it has connections.
func (p *process) unknownName(f *admin.ConnectionFilter) error {
	if f.Listener != "" {
		var names []string
		for _, l := range p.live.Listeners() {
			names = append(names, l.Name)
		}
		if !slices.Contains(names, f.Listener) {
			return unknown("listener", f.Listener, names)
		}
	}
	if f.Pool == "" && f.Backend == "" {
		return nil
	}
	pools := p.live.Pools()
	if f.Pool != "" {
		var names []string
		for i := range pools {
			names = append(names, pools[i].Name)
		}
		if !slices.Contains(names, f.Pool) {
			return unknown("pool", f.Pool, names)
		}
		pools = slices.DeleteFunc(pools, func(pool control.PoolInfo) bool { return pool.Name != f.Pool })
	}
	if f.Backend != "" && !hasBackend(pools, f.Backend) {
		return unknown("backend", f.Backend, backendNames(pools))
	}
	return nil
}

func hasBackend(pools []control.PoolInfo, address string) bool {
	return slices.ContainsFunc(pools, func(pool control.PoolInfo) bool {
		return slices.ContainsFunc(pool.Backends, func(b control.BackendInfo) bool {
			return b.Address == address || b.Sockaddr.String() == address
		})
	})
}

func backendNames(pools []control.PoolInfo) (names []string) {
	for i := range pools {
		for _, b := range pools[i].Backends {
			if !slices.Contains(names, b.Address) {
				names = append(names, b.Address)
			}
			if len(names) > namesShown {
				return names
			}
		}
	}
	return names
}

// unknown is the error about a name that does not exist. It says which ones do.
func unknown(what, name string, names []string) error {
	return admin.NotFound(fmt.Sprintf("unknown %s %s", what, name), thereAre(names))
}

// thereAre says which names exist.
func thereAre(names []string) string {
	slices.Sort(names)
	hint := "there are " + strings.Join(names[:min(len(names), namesShown)], ", ")
	switch {
	case len(names) == 0:
		hint = "there is none"
	case len(names) == 1:
		hint = "there is only " + names[0]
	case len(names) > namesShown:
		hint += " and others; l4proxy status lists them"
	}
	return hint
}
