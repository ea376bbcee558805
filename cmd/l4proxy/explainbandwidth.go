package main

import (
	"net/netip"
	"strings"

	"l4proxy/bandwidth"
	"l4proxy/config"
)

// bandwidthText says what limits of bandwidth a client has, "" if none.
func bandwidthText(s *bandwidth.Settings, client netip.Addr) string {
	var directions []string
	for d := range bandwidth.Directions {
		var limits []string
		for k := range bandwidth.Kinds {
			rate := s.Rates[k][d]
			if rate == 0 || k == bandwidth.Client && !client.IsValid() {
				continue
			}
			limits = append(limits, config.ByteRate(rate)+" "+bandwidthOf[k])
		}
		if len(limits) > 0 {
			directions = append(directions, d.String()+" "+strings.Join(limits, ", "))
		}
	}
	if len(directions) == 0 {
		return ""
	}
	return "bandwidth: " + strings.Join(directions, "; ")
}

// bandwidthOf says what a limit applies to.
var bandwidthOf = [bandwidth.Kinds]string{
	bandwidth.Connection: "for the connection", bandwidth.Client: "for the client", bandwidth.Total: "for the listener",
}
