package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// machine describes where the figures come from.
type machine struct {
	Date              string `json:"date"`
	Kernel            string `json:"kernel"`
	CPU               string `json:"cpu"`
	CPUs              int    `json:"cpus"`
	MemoryMB          int    `json:"memory_mb"`
	Network           string `json:"network"` // loopback, unless the caller changes it
	CongestionControl string `json:"congestion_control"`
	Workers           int    `json:"workers"`
	Wrk               string `json:"wrk"`
	Iperf3            string `json:"iperf3"`
}

// describeMachine never fails: what it cannot find out is "unknown".
func describeMachine(ctx context.Context, o options) machine {
	// wrk -v exits with 1.
	wrk, _ := firstLine(ctx, "wrk", "-v")
	wrk, _, _ = strings.Cut(wrk, " Copyright")
	iperf3, _ := firstLine(ctx, "iperf3", "--version")
	m := machine{
		Date:              time.Now().UTC().Format(time.DateOnly),
		Kernel:            kernelVersion(procValue("/proc/sys/kernel/osrelease")),
		CPU:               orUnknown(""),
		CPUs:              runtime.NumCPU(),
		Network:           onLoopback().about,
		CongestionControl: procValue("/proc/sys/net/ipv4/tcp_congestion_control"),
		Workers:           o.workers,
		Wrk:               orUnknown(wrk),
		Iperf3:            orUnknown(iperf3),
	}
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return m
	}
	if info, err := proc.CPUInfo(); err == nil && len(info) > 0 {
		m.CPU = orUnknown(info[0].ModelName)
	}
	if info, err := proc.Meminfo(); err == nil && info.MemTotalBytes != nil {
		m.MemoryMB = int(*info.MemTotalBytes >> 20)
	}
	return m
}

// kernelVersion returns a release without the distributor's suffix after the hyphen.
func kernelVersion(release string) string {
	version, _, _ := strings.Cut(release, "-")
	return version
}

// short describes the machine in the subtitle of a picture, with the day of the measurement.
func (m machine) short(date string) string {
	return fmt.Sprintf("%d × %s, Linux %s, %s, %s.", m.CPUs, m.CPU, m.Kernel, m.Network, cmp.Or(date, m.Date))
}

func (m machine) lines() []string {
	pinning := "each pinned to a CPU"
	if m.Workers > m.CPUs {
		pinning = "not pinned"
	}
	return []string{
		fmt.Sprintf("%s, Linux %s, %d × %s, %d MB, %s, congestion control %s",
			m.Date, m.Kernel, m.CPUs, m.CPU, m.MemoryMB, m.Network, m.CongestionControl),
		fmt.Sprintf("workers per proxy: %d, %s; the load and the origin run on the same CPUs", m.Workers, pinning),
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

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
