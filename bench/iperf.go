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

// iperf is the work of bulk, measured with iperf3.
func iperf(streams int) scenario {
	return scenario{
		name:  fmt.Sprintf("iperf3-%d", streams),
		about: fmt.Sprintf("Second opinion on bulk-%d: iperf3. %s", streams, aboutBulkCPU),
		metrics: []metric{
			{name: "Gbit/s", higher: true, digits: 2},
			{name: "CPU s/GB", digits: 2},
			{name: "machine CPU s/GB", digits: 2},
			{name: "charged to proxy s/GB", digits: 2, uncompared: true},
			{name: "charged to ends s/GB", digits: 2, uncompared: true},
		},
		origin: startIperf,
		run: func(ctx context.Context, b bench) (measured, error) {
			return runIperf(ctx, b, streams)
		},
	}
}

func startIperf(b bench) (*process, error) {
	iperf, err := exec.LookPath("iperf3")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(b.setup.Listen)
	if err != nil {
		return nil, err
	}
	return start("the iperf3 server", b.setup.Dir, append(b.place.origin(), iperf, "-s", "-p", port)...)
}

func runIperf(ctx context.Context, b bench, streams int) (measured, error) {
	host, port, err := net.SplitHostPort(b.target)
	if err != nil {
		return measured{}, err
	}
	output, used, err := b.runTool(ctx, "iperf3", "-c", host, "-p", port, "-J",
		"-t", fmt.Sprintf("%.0f", b.duration.Seconds()), "-P", strconv.Itoa(streams))
	if err != nil {
		return measured{}, err
	}
	result, err := parseIperf(output)
	if err != nil {
		return measured{}, err
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
	return measured{figures: f}, nil
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
