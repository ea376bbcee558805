package main

import (
	"net/netip"
	"testing"

	"l4proxy/bandwidth"
)

func TestBandwidthText(t *testing.T) {
	var none, all bandwidth.Settings
	all.Rates[bandwidth.Connection][bandwidth.In] = 1e6
	all.Rates[bandwidth.Connection][bandwidth.Out] = 512 << 10
	all.Rates[bandwidth.Client][bandwidth.Out] = 2_500_000
	all.Rates[bandwidth.Total][bandwidth.Out] = 1e9
	client := netip.MustParseAddr("192.0.2.1")
	for _, test := range []struct {
		settings bandwidth.Settings
		client   netip.Addr
		want     string
	}{
		{none, client, ""},
		{all, client, "bandwidth: in 1MB/s for the connection; out 512KiB/s for the connection, 2500kB/s for the client, 1GB/s for the listener"},
		{all, netip.Addr{}, "bandwidth: in 1MB/s for the connection; out 512KiB/s for the connection, 1GB/s for the listener"},
	} {
		if got := bandwidthText(&test.settings, test.client); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
