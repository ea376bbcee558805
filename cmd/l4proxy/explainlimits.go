package main

import (
	"fmt"

	"l4proxy/admin"
	"l4proxy/clientlimit"
	"l4proxy/config"
)

// clientLimits are the limits of a client in an explanation; none if u is nil.
func clientLimits(u *clientlimit.Usage) (limits []admin.ExplainLimit) {
	if u == nil {
		return nil
	}
	if most := u.Limits.Connections; most > 0 {
		limits = append(limits, admin.ExplainLimit{Name: "client", Used: int64(u.Connections), Limit: int64(most), Room: u.Connections < most})
	}
	if u.Limits.Rate > 0 {
		limits = append(limits, admin.ExplainLimit{Name: "client_rate", Used: int64(u.Recent), Limit: int64(u.Limits.Burst), Room: u.Recent < u.Limits.Burst})
	}
	return limits
}

// clientText says how much a client uses of its limits.
func clientText(u *clientlimit.Usage) string {
	who := u.Prefix.String()
	if u.Prefix.IsSingleIP() {
		who = u.Prefix.Addr().String()
	}
	text := fmt.Sprintf("per_client: %s has %s", who, count(u.Connections, "connection"))
	if most := u.Limits.Connections; most > 0 {
		text += fmt.Sprintf(" of %d", most)
	}
	if u.Limits.Rate > 0 {
		text += fmt.Sprintf(", and has used %d of a burst of %d (rate %s)", u.Recent, u.Limits.Burst, config.Rate(u.Limits.Rate))
	}
	switch u.Verdict {
	case clientlimit.OverConnections:
		text += ": too many connections"
	case clientlimit.OverRate:
		text += ": too many new connections"
	case clientlimit.Counted, clientlimit.CountedUnrated:
	}
	return text
}
