package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
)

// redis is the work of request, measured with redis-benchmark and a Redis server:
// the protocol of a real database, whose one thread is often the slowest part.
func redis() scenario {
	const connections = 64
	return scenario{
		name:  "redis-64",
		about: fmt.Sprintf("Second opinion on request-64: GET from a Redis server (redis-benchmark, %d persistent connections, closed loop).", connections),
		metrics: []metric{
			{name: "requests/s", higher: true},
			{name: "p50 ms", digits: 2},
			{name: "p99 ms", digits: 2},
			{name: "CPU µs/request", digits: 1},
			{name: "machine CPU µs/request", digits: 1},
		},
		origin: startRedis,
		run: func(ctx context.Context, b bench) (measured, error) {
			return runRedis(ctx, b, connections)
		},
	}
}

func startRedis(b bench) (*process, error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(b.setup.Listen)
	if err != nil {
		return nil, err
	}
	return start("the Redis server", b.setup.Dir, append(b.place.origin(), binary,
		"--bind", host, "--port", port, "--protected-mode", "no", "--save", "", "--appendonly", "no")...)
}

// redisRequestsPerSecond is about what redis-benchmark reaches on any machine. It
// takes a number of requests, so the time of a measurement is approximate.
const redisRequestsPerSecond = 40_000

func runRedis(ctx context.Context, b bench, connections int) (measured, error) {
	host, port, err := net.SplitHostPort(b.target)
	if err != nil {
		return measured{}, err
	}
	n := int(b.duration.Seconds() * redisRequestsPerSecond)
	output, used, err := b.runTool(ctx, "redis-benchmark", "-h", host, "-p", port, "-t", "get", "--csv",
		"-c", strconv.Itoa(connections), "-n", strconv.Itoa(n))
	if err != nil {
		return measured{}, err
	}
	f, err := parseRedis(string(output))
	if err != nil {
		return measured{}, err
	}
	used.add(f, "request", float64(n))
	return measured{figures: f}, nil
}

// parseRedis reads the output of redis-benchmark --csv: a line of names and one of
// values.
func parseRedis(output string) (figures, error) {
	records, err := csv.NewReader(strings.NewReader(output)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("redis-benchmark's output: %w", err)
	}
	if len(records) != 2 {
		return nil, fmt.Errorf("redis-benchmark's output has %d lines, want 2: %s", len(records), output)
	}
	f := make(figures)
	for column, name := range map[string]string{"rps": "requests/s", "p50_latency_ms": "p50 ms", "p99_latency_ms": "p99 ms"} {
		for i, head := range records[0] {
			if head != column {
				continue
			}
			if f[name], err = strconv.ParseFloat(records[1][i], 64); err != nil {
				return nil, fmt.Errorf("redis-benchmark's %s: %w", column, err)
			}
		}
	}
	if f["requests/s"] == 0 {
		return nil, errors.New("redis-benchmark: no request was answered")
	}
	return f, nil
}
