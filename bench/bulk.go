package main

import (
	"context"
	"fmt"

	"l4proxy/bench/traffic"
)

// bulk is one direction at full speed. Its CPU figure is that of the proxy and
// both ends together: the kernel charges the work on a segment to the process
// that runs when the softirq does, and over loopback that is the proxy in one run
// and the receiver in the next. The CPU charged to the proxy alone is shown too,
// but it says more about timing than about work.
func bulk(streams int) scenario {
	return scenario{
		name:   fmt.Sprintf("bulk-%d", streams),
		about:  fmt.Sprintf("Bulk from client to origin, streams: %d. %s", streams, aboutBulkCPU),
		family: "bulk",
		x:      float64(streams),
		metrics: []metric{
			{name: "Gbit/s", higher: true, digits: 2},
			{name: "CPU s/GB", digits: 2},
			{name: "machine CPU s/GB", digits: 2},
			{name: "charged to proxy s/GB", digits: 2, uncompared: true},
		},
		origin: func(b bench) (*process, error) {
			return b.startOrigin(traffic.OriginSpec{Work: traffic.Sink})
		},
		run: func(ctx context.Context, b bench) (measured, error) { return runBulk(ctx, b, streams) },
	}
}

const aboutBulkCPU = "CPU is that of proxy, client and origin together: which of them is charged depends on the kernel's accounting, not on their work."

func runBulk(ctx context.Context, b bench, streams int) (measured, error) {
	result, spent, err := b.drive(ctx, traffic.ClientSpec{Work: traffic.Send, Connections: streams}, b.pid, b.originPID)
	if err != nil {
		return measured{}, err
	}
	used, usedByOrigin := spent[0], spent[1]
	if result.BytesOut == 0 {
		return measured{}, fmt.Errorf("the origin took no byte")
	}
	gigabytes := float64(result.BytesOut) / 1e9
	f := figures{
		"Gbit/s":           gigabytes * 8 / result.Seconds,
		"CPU s/GB":         (used.proxy.cpu() + usedByOrigin.proxy.cpu() + result.CPUSeconds) / gigabytes,
		"machine CPU s/GB": used.machine / gigabytes,
	}
	if used.proxied {
		f["charged to proxy s/GB"] = used.proxy.cpu() / gigabytes
	}
	return measured{figures: f}, nil
}
