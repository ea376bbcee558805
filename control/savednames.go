package control

import (
	"slices"
	"time"

	"l4proxy/discovery"
)

// SavedName is a name of backends with its addresses, on its way to another process, which so
// starts without asking a name server: that may be down. Its JSON form is part of the hand-over
// format (docs/handover.md): fields are added, never renamed.
type SavedName struct {
	Host string `json:"host"`
	SRV  bool   `json:"srv,omitempty"`
	// Endpoints are those in use, also if their removal is held back.
	Endpoints []discovery.Endpoint `json:"endpoints"`
	Resolved  time.Time            `json:"resolved"`
	TTL       time.Duration        `json:"ttl"` // nanoseconds
}

// ExportNames writes down the addresses of all names.
func (l *Live) ExportNames() []SavedName {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[discovery.Name]*SavedName)
	for _, pool := range l.pools {
		for i := range pool.plan.Entries {
			e := &pool.plan.Entries[i]
			if e.Source == nil || l.Directory == nil {
				continue
			}
			name := e.Source.Name
			if all[name] == nil {
				status := l.Directory.Status(name)
				all[name] = &SavedName{Host: name.Host, SRV: name.SRV, Resolved: status.Resolved,
					TTL: time.Duration(status.TTL * float64(time.Second))}
			}
			for _, ep := range e.Endpoints {
				if !slices.Contains(all[name].Endpoints, ep) {
					all[name].Endpoints = append(all[name].Endpoints, ep)
				}
			}
		}
	}
	saved := make([]SavedName, 0, len(all))
	for _, s := range all {
		saved = append(saved, *s)
	}
	return saved
}

// ImportNames gives a Directory the addresses that another process has saved.
func ImportNames(d *discovery.Directory, saved []SavedName) {
	for _, s := range saved {
		valid := slices.DeleteFunc(s.Endpoints, func(e discovery.Endpoint) bool { return !e.IP.IsValid() })
		d.Preload(discovery.Name{Host: s.Host, SRV: s.SRV}, discovery.Answer{Endpoints: valid, TTL: s.TTL}, s.Resolved)
	}
}
