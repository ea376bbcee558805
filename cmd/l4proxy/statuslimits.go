package main

import (
	"fmt"

	"l4proxy/admin"
	"l4proxy/config"
	"l4proxy/internal/term"
)

// clientLimits are the limits of each client, by listener.
func (p *process) clientLimits() map[string]*admin.ClientLimits {
	all := make(map[string]*admin.ClientLimits)
	for _, l := range p.live.Listeners() {
		if l.Clients == nil {
			continue
		}
		limits := l.Clients.Limits()
		all[l.Name] = &admin.ClientLimits{
			Connections: limits.Connections, Rate: limits.Rate, Burst: limits.Burst,
			Clients: l.Clients.Clients(), Recent: l.Clients.Recent(p.live.Now()),
		}
	}
	if len(all) == 0 {
		return nil
	}
	counts := p.server.Counts().Listeners
	for i := range counts {
		if of := all[counts[i].Listener.Name]; of != nil {
			of.RefusedConnections, of.RefusedRate = counts[i].OverLimits()
			of.Unrated = counts[i].Unrated
		}
	}
	return all
}

// limitTables are the tables of limits that not every listener and pool has.
func limitTables(s *admin.Status) (tables []*term.Table) {
	clients := term.NewTable(term.Text("LISTENER").Short(12), term.Number("CLIENTS"), term.Number("LIMIT EACH"), term.Number("REFUSED"),
		term.Number("RECENT"), term.Number("RATE EACH"), term.Number("REFUSED"))
	limited := false
	for _, l := range s.Listeners {
		if of := l.PerClient; of != nil {
			rate := "-"
			if of.Rate > 0 {
				rate = fmt.Sprintf("%s, burst %d", config.Rate(of.Rate), of.Burst)
			}
			clients.Row(l.Name, of.Clients, limitText(int64(of.Connections)), of.RefusedConnections, of.Recent, rate, of.RefusedRate)
			limited = true
		}
	}
	if limited {
		tables = append(tables, clients)
	}
	pools := term.NewTable(term.Text("POOL").Short(12), term.Number("CONNECTIONS"), term.Number("LIMIT"), term.Number("QUEUED"))
	limited = false
	for _, p := range s.Pools {
		if p.MaxConnections > 0 {
			pools.Row(p.Name, p.Connections, limitText(p.MaxConnections), p.Queued)
			limited = true
		}
	}
	if limited {
		tables = append(tables, pools)
	}
	return tables
}
