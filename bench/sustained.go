package main

import (
	"context"
	"fmt"
	"time"

	"l4proxy/bench/traffic"
)

// sustained is a steady load for d, long enough to see whether something grows.
func sustained(d time.Duration) scenario {
	const connections, bytes = 64, 1024
	return scenario{
		name:  "sustained",
		about: fmt.Sprintf("Requests of %d bytes on %d persistent connections at 30 %% of the slowest peer's highest rate, for at least %v (open loop).", bytes, connections, d),
		metrics: []metric{
			{name: "requests/s", uncompared: true},
			{name: "p99 ms", digits: 3},
			{name: "p99.9 ms", digits: 3},
			{name: "max ms", digits: 1, uncompared: true},
			{name: "CPU µs/request", digits: 1},
			{name: "PSS MB after 1/10", digits: 1},
			{name: "PSS MB at the end", digits: 1},
			{name: "fds at the end", uncompared: true},
		},
		proxied: true,
		share:   0.3,
		atLeast: d,
		origin:  answering(bytes, bytes),
		run: func(ctx context.Context, b bench) (measured, error) {
			return runSustained(ctx, b, traffic.ClientSpec{
				Work: traffic.Request, Connections: connections, RequestBytes: bytes, ResponseBytes: bytes, Rate: b.rate,
			})
		},
	}
}

// sampleEvery is the time between two points of a timeline.
const sampleEvery = time.Second

func runSustained(ctx context.Context, b bench, spec traffic.ClientSpec) (measured, error) {
	c, err := b.startClient(ctx, spec)
	if err != nil {
		return measured{}, err
	}
	clock, err := startClock(b.pid)
	if err != nil {
		c.stop()
		return measured{}, err
	}
	sampling, stop := context.WithCancel(ctx)
	defer stop()
	sampled := make(chan []sample, 1)
	go func() { sampled <- sampleProcess(sampling, b.pid, sampleEvery) }()

	result, err := c.wait()
	stop()
	timeline := <-sampled
	if err != nil {
		return measured{}, err
	}
	used, err := clock.stop()
	if err != nil {
		return measured{}, err
	}
	var points samples
	for _, s := range timeline {
		point := figures{"seconds": significant(s.Seconds, 4), "cpu": significant(s.CPU, 4), "pss": significant(s.PSS, 6)}
		if second := int(s.Seconds) - 1; second >= 0 && second < len(result.PerSecond) {
			point["operations"] = float64(result.PerSecond[second])
		}
		points = append(points, point)
	}
	f := figures{"requests/s": float64(result.Operations) / result.Seconds}
	addLatency(f, result)
	used.add(f, "request", float64(result.Operations))
	if n := len(timeline); n > 0 {
		f["PSS MB after 1/10"] = timeline[n/10].PSS / (1 << 20)
		f["PSS MB at the end"] = timeline[n-1].PSS / (1 << 20)
		f["fds at the end"] = timeline[n-1].FDs
	}
	return measured{figures: f, timeline: points}, nil
}
