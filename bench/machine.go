package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// machine is what one has to know about where figures come from.
type machine struct {
	Date              string `json:"date"`
	Kernel            string `json:"kernel"`
	CPU               string `json:"cpu"`
	CPUs              int    `json:"cpus"`
	MemoryMB          int    `json:"memory_mb"`
	Network           string `json:"network"` // loopback, unless the caller says otherwise
	CongestionControl string `json:"congestion_control"`
	Workers           int    `json:"workers"`
	Wrk               string `json:"wrk"`
	Iperf3            string `json:"iperf3"`
}

// describeMachine never fails: what the system does not tell is "unknown".
func describeMachine(ctx context.Context, o options) machine {
	// wrk -v exits with 1.
	wrk, _ := firstLine(ctx, "wrk", "-v")
	wrk, _, _ = strings.Cut(wrk, " Copyright")
	iperf3, _ := firstLine(ctx, "iperf3", "--version")
	var kilobytes int
	if _, err := fmt.Sscan(procField("/proc/meminfo", "MemTotal"), &kilobytes); err != nil {
		kilobytes = 0
	}
	return machine{
		Date:              time.Now().UTC().Format(time.DateOnly),
		Kernel:            kernelVersion(procValue("/proc/sys/kernel/osrelease")),
		CPU:               procField("/proc/cpuinfo", "model name"),
		CPUs:              runtime.NumCPU(),
		MemoryMB:          kilobytes / 1024,
		Network:           onLoopback().about,
		CongestionControl: procValue("/proc/sys/net/ipv4/tcp_congestion_control"),
		Workers:           o.workers,
		Wrk:               orUnknown(wrk),
		Iperf3:            orUnknown(iperf3),
	}
}

// kernelVersion is a release without what its builder added after a hyphen.
func kernelVersion(release string) string {
	version, _, _ := strings.Cut(release, "-")
	return version
}

// short is the machine in the subtitle of a picture.
func (m machine) short() string {
	return fmt.Sprintf("%d × %s, Linux %s, %s, %s.", m.CPUs, m.CPU, m.Kernel, m.Network, m.Date)
}

func (m machine) lines() []string {
	pinning := "each pinned to a CPU"
	if m.Workers > m.CPUs {
		pinning = "not pinned"
	}
	return []string{
		fmt.Sprintf("%s, Linux %s, %d × %s, %d MB, %s, congestion control %s",
			m.Date, m.Kernel, m.CPUs, m.CPU, m.MemoryMB, m.Network, m.CongestionControl),
		fmt.Sprintf("workers a proxy: %d, %s; the load and the origin run on the same CPUs", m.Workers, pinning),
		fmt.Sprintf("second opinions: %s, %s", m.Wrk, m.Iperf3),
	}
}

func procValue(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return orUnknown("")
	}
	return orUnknown(strings.TrimSpace(string(data)))
}

// procField returns the value of the first line "name: value" of a file.
func procField(path, name string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return orUnknown("")
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return orUnknown("")
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
