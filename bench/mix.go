package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"l4proxy/bench/traffic"
)

// What runs beside the requests of a mix.
const (
	mixConnections = 64
	mixSlow        = 64
	mixSlowRate    = 64 << 10 // bytes per second each
	mixBulk        = 8
	mixBulkBytes   = 1 << 20
	mixBulkRate    = 150  // per second
	mixChurn       = 0.05 // of the rate of requests
)

// mix is all kinds of work at once, each at a fixed rate, so that all peers do the
// same work.
func mix() scenario {
	return scenario{
		name: "mix",
		about: fmt.Sprintf("At the same time: requests of %d bytes on %d persistent connections at 20 %% of the slowest peer's highest rate, "+
			"a %.0fth as many connections per second, %d answers of %d MiB per second, and %d readers that take %d KiB per second each (open loop).",
			smallMessage, mixConnections, 1/mixChurn, mixBulkRate, mixBulkBytes>>20, mixSlow, mixSlowRate>>10),
		metrics: []metric{
			{name: "p50 ms", digits: 3},
			{name: "p99 ms", digits: 3},
			{name: "p99.9 ms", digits: 3},
			{name: "connection p99 ms", digits: 3},
			{name: "bulk p99 ms", digits: 2},
			{name: "slow reader KiB/s", digits: 1, uncompared: true},
			{name: "CPU %", digits: 1},
			{name: "machine CPU %", digits: 1},
			{name: "PSS MB", digits: 1},
		},
		proxied: true,
		share:   0.2,
		size:    size{more: 3},
		origin:  answering(smallMessage, smallMessage),
		run:     runMix,
	}
}

func runMix(ctx context.Context, b bench) (m measured, err error) {
	churn, source, bulk := b.more[0], b.more[1], b.more[2]
	for _, origin := range []struct {
		name string
		ports
		spec traffic.OriginSpec
	}{
		{"churn", churn, traffic.OriginSpec{Work: traffic.Connection, RequestBytes: smallMessage, ResponseBytes: smallMessage}},
		{"source", source, traffic.OriginSpec{Work: traffic.Source}},
		{"bulk", bulk, traffic.OriginSpec{Work: traffic.Request, RequestBytes: smallMessage, ResponseBytes: mixBulkBytes}},
	} {
		dir := filepath.Join(b.dir, origin.name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return measured{}, err
		}
		p, err := b.startOriginOn(everywhere(origin.backend), dir, origin.spec)
		if err != nil {
			return measured{}, err
		}
		defer p.stop()
		if err := p.awaitListening(ctx, origin.backend); err != nil {
			return measured{}, err
		}
	}

	// The other kinds begin before the requests and end after them.
	around := b.duration + warmUp + settleTime
	specs := []traffic.ClientSpec{
		{Work: traffic.Receive, Connections: mixSlow, ReadRate: mixSlowRate, Target: []string{b.targetOf(source)}},
		{Work: traffic.Request, Connections: mixBulk, RequestBytes: smallMessage, ResponseBytes: mixBulkBytes,
			Rate: mixBulkRate, Target: []string{b.targetOf(bulk)}},
		{Work: traffic.Connection, Connections: mixConnections, RequestBytes: smallMessage, ResponseBytes: smallMessage,
			Rate: b.rate * mixChurn, Target: []string{b.targetOf(churn)}},
	}
	var others []*client
	for _, spec := range specs {
		spec.Duration = around
		c, err := b.startClient(ctx, spec)
		if err != nil {
			stopAll(others)
			return measured{}, err
		}
		others = append(others, c)
	}
	m, err = b.load(ctx, "request", traffic.ClientSpec{
		Work: traffic.Request, Connections: mixConnections, RequestBytes: smallMessage, ResponseBytes: smallMessage, Rate: b.rate,
	})
	if err != nil {
		stopAll(others)
		return measured{}, err
	}
	memory, err := memoryOf(b.pid)
	if err != nil {
		stopAll(others)
		return measured{}, err
	}
	var found []traffic.ClientResult
	for i, c := range others {
		result, err := c.wait()
		if err != nil {
			stopAll(others[i+1:])
			return measured{}, err
		}
		found = append(found, result)
	}
	f := m.figures
	f["slow reader KiB/s"] = float64(found[0].BytesIn) / found[0].Seconds / mixSlow / 1024
	f["bulk p99 ms"] = found[1].Latency.P99
	f["connection p99 ms"] = found[2].Latency.P99
	f["CPU %"] = f["CPU µs/request"] * f["requests/s"] / 1e4
	f["machine CPU %"] = f["machine CPU µs/request"] * f["requests/s"] / 1e4
	f["PSS MB"] = memory.pss / (1 << 20)
	return m, nil
}

// stopAll ends clients whose results are not needed any more.
func stopAll(clients []*client) {
	for _, c := range clients {
		c.stop()
	}
}
