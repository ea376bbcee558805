package control

import (
	"l4proxy/bandwidth"
	"l4proxy/config"
)

// buildBandwidth collects the limits of bandwidth of a listener.
func buildBandwidth(l *config.Listener) (s bandwidth.Settings) {
	set := func(kind bandwidth.Kind, r *config.Rates) {
		if r != nil {
			s.Rates[kind][bandwidth.In], s.Rates[kind][bandwidth.Out] = r.In, r.Out
		}
	}
	if l.Bandwidth != nil {
		set(bandwidth.Connection, &l.Bandwidth.Rates)
		set(bandwidth.Total, l.Bandwidth.Total)
	}
	if l.PerClient != nil {
		set(bandwidth.Client, l.PerClient.Bandwidth)
		s.IPv4, s.IPv6 = l.PerClient.IPv4Prefix, l.PerClient.IPv6Prefix
	}
	return s
}
