package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
)

// bulk is one direction as fast as it goes: iperf3. Its CPU figure is that of
// the proxy and both ends together: the kernel charges the work on a segment to
// whoever runs when its softirq does, and over loopback that is the proxy in
// one run and the receiver in the next. What was charged to the proxy alone is
// shown, but says more about timing than about work.
func bulk(streams int) scenario {
	return scenario{
		about: fmt.Sprintf("Bulk from client to origin, streams: %d (iperf3). CPU is that of proxy and both ends together: "+
			"how it is shared out among them is the kernel's accounting, not their work.", streams),
		metrics: []metric{
			{name: "Gbit/s", higher: true, digits: 2},
			{name: "CPU s/GB", digits: 2},
			{name: "machine CPU s/GB", digits: 2},
			{name: "charged to proxy s/GB", digits: 2, uncompared: true},
			{name: "charged to ends s/GB", digits: 2, uncompared: true},
		},
		origin: startIperf,
		run: func(ctx context.Context, b bench) (figures, error) {
			return runIperf(ctx, b, streams)
		},
	}
}

func startIperf(s setup) (*process, error) {
	iperf, err := exec.LookPath("iperf3")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return nil, err
	}
	return start("the iperf3 server", s.Dir, iperf, "-s", "-p", port)
}

func runIperf(ctx context.Context, b bench, streams int) (figures, error) {
	host, port, err := net.SplitHostPort(b.target)
	if err != nil {
		return nil, err
	}
	clock, err := startClock(b.pid)
	if err != nil {
		return nil, err
	}
	output, err := exec.CommandContext(ctx, "iperf3", "-c", host, "-p", port, "-J",
		"-t", fmt.Sprintf("%.0f", b.duration.Seconds()), "-P", strconv.Itoa(streams)).Output()
	if err != nil {
		return nil, fmt.Errorf("iperf3: %w: %s", err, output)
	}
	used, err := clock.stop()
	if err != nil {
		return nil, err
	}
	result, err := parseIperf(output)
	if err != nil {
		return nil, err
	}
	gigabytes := result.bytes / 1e9
	f := figures{
		"Gbit/s":               result.bitsPerSecond / 1e9,
		"CPU s/GB":             (used.proxy.cpu() + result.cpu) / gigabytes,
		"machine CPU s/GB":     used.machine / gigabytes,
		"charged to ends s/GB": result.cpu / gigabytes,
	}
	if used.proxied {
		f["charged to proxy s/GB"] = used.proxy.cpu() / gigabytes
	}
	return f, nil
}

// iperfResult is what arrived, and the CPU seconds of client and server.
type iperfResult struct {
	bytes, bitsPerSecond, cpu float64
}

func parseIperf(output []byte) (iperfResult, error) {
	var report struct {
		Error string `json:"error"`
		End   struct {
			Received struct {
				Bytes         float64 `json:"bytes"`
				BitsPerSecond float64 `json:"bits_per_second"`
				Seconds       float64 `json:"seconds"`
			} `json:"sum_received"`
			CPU struct {
				Host   float64 `json:"host_total"`
				Remote float64 `json:"remote_total"`
			} `json:"cpu_utilization_percent"`
		} `json:"end"`
	}
	if err := json.Unmarshal(output, &report); err != nil {
		return iperfResult{}, fmt.Errorf("iperf3's output: %w", err)
	}
	if report.Error != "" {
		return iperfResult{}, errors.New("iperf3: " + report.Error)
	}
	received := report.End.Received
	if received.Bytes == 0 {
		return iperfResult{}, errors.New("iperf3: nothing was received")
	}
	return iperfResult{
		bytes:         received.Bytes,
		bitsPerSecond: received.BitsPerSecond,
		cpu:           (report.End.CPU.Host + report.End.CPU.Remote) / 100 * received.Seconds,
	}, nil
}
