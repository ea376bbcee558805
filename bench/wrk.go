package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// http is the work of request, measured with wrk and nginx.
func http(connections int) scenario {
	return scenario{
		name: fmt.Sprintf("wrk-%d", connections),
		about: fmt.Sprintf("Second opinion on request-%d: small HTTP requests on persistent connections (wrk, 1 thread, closed loop; origin nginx).",
			connections),
		metrics: []metric{
			{name: "requests/s", higher: true},
			{name: "p50 ms", digits: 2},
			{name: "p99 ms", digits: 2},
			{name: "CPU µs/request", digits: 1},
			{name: "machine CPU µs/request", digits: 1},
		},
		origin: startHTTPOrigin,
		run: func(ctx context.Context, b bench) (measured, error) {
			return runWrk(ctx, b, "request", "-c", strconv.Itoa(connections))
		},
	}
}

// httpClose is the work of connection, measured with wrk and nginx.
func httpClose() scenario {
	return scenario{
		name:    "wrk-close",
		about:   "Second opinion on connection-64: a new connection for each small HTTP request, 64 at a time (wrk, 1 thread, closed loop; origin nginx).",
		metrics: connectionMetrics(),
		origin:  startHTTPOrigin,
		run: func(ctx context.Context, b bench) (measured, error) {
			return runWrk(ctx, b, "connection", "-c", "64", "-H", "Connection: close")
		},
	}
}

func startHTTPOrigin(b bench) (*process, error) {
	binary, err := findBinary("NGINX_BIN", "nginx")
	if err != nil {
		return nil, err
	}
	config, err := configure("origins/nginx.conf.tmpl", b.setup)
	if err != nil {
		return nil, err
	}
	return start("the HTTP origin", b.setup.Dir,
		append(b.place.origin(), binary, "-p", b.setup.Dir, "-e", "stderr", "-c", config)...)
}

// wrkResult is the line that load/report.lua prints.
type wrkResult struct {
	Requests, Duration float64
	P50, P99           float64

	Connect, Read, Write, Status, Timeout int
}

// runWrk puts load on b with wrk's arguments; unit is the name of an operation.
func runWrk(ctx context.Context, b bench, unit string, args ...string) (measured, error) {
	script := filepath.Join(b.dir, "report.lua")
	source, err := files.ReadFile("load/report.lua")
	if err != nil {
		return measured{}, err
	}
	if err := os.WriteFile(script, source, 0o644); err != nil && !errors.Is(err, fs.ErrExist) {
		return measured{}, err
	}
	args = append([]string{"-t", "1", "-d", fmt.Sprintf("%.0fs", b.duration.Seconds()), "--timeout", "10s", "-s", script}, args...)
	output, used, err := b.runTool(ctx, "wrk", append(args, "http://"+b.target+"/")...)
	if err != nil {
		return measured{}, err
	}
	result, err := parseWrk(output)
	if err != nil {
		return measured{}, err
	}
	f := figures{
		unit + "s/s": result.Requests / (result.Duration / 1e6),
		"p50 ms":     result.P50 / 1e3,
		"p99 ms":     result.P99 / 1e3,
	}
	used.add(f, unit, result.Requests)
	return measured{figures: f}, nil
}

// parseWrk reads the last line of wrk's output. A failed request fails the
// measurement.
func parseWrk(output []byte) (wrkResult, error) {
	lines := bytes.Split(bytes.TrimSpace(output), []byte{'\n'})
	var r wrkResult
	if err := json.Unmarshal(lines[len(lines)-1], &r); err != nil {
		return r, fmt.Errorf("wrk's output: %w: %s", err, output)
	}
	if r.Requests == 0 || r.Duration == 0 {
		return r, errors.New("wrk: no request was answered")
	}
	if r.Connect+r.Read+r.Write+r.Status+r.Timeout > 0 {
		return r, fmt.Errorf("wrk: errors: %d connect, %d read, %d write, %d status, %d timeout",
			r.Connect, r.Read, r.Write, r.Status, r.Timeout)
	}
	return r, nil
}
