package main

import "l4proxy/admin"

// queries are what the admin address can be asked about the process.
func (p *process) queries() admin.Queries {
	return admin.Queries{
		Connections: p.adminConnections, Stats: p.adminStats, Explain: p.adminExplain, Debug: p.adminDebug, Config: p.runningConfig,
		Bans: p.adminBans,
	}
}
