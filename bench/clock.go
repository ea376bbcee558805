package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// clock tells how much CPU time a piece of work took, in the proxy and in the
// whole machine. /proc counts in 10 ms; work takes seconds.
type clock struct {
	pid     int // 0: no proxy
	proxy   usage
	machine float64
}

func startClock(pid int) (*clock, error) {
	c := &clock{pid: pid}
	var err error
	if pid != 0 {
		if c.proxy, err = cpuOf(pid); err != nil {
			return nil, err
		}
	}
	c.machine, err = machineCPU()
	return c, err
}

// spent is the CPU time in seconds between start and stop of a clock.
type spent struct {
	proxied bool
	proxy   usage
	machine float64
}

func (c *clock) stop() (spent, error) {
	now, err := startClock(c.pid)
	if err != nil {
		return spent{}, err
	}
	return spent{c.pid != 0, now.proxy.minus(c.proxy), now.machine - c.machine}, nil
}

// add adds what each of n units took, in microseconds, to f.
func (s spent) add(f figures, unit string, n float64) {
	f["machine CPU µs/"+unit] = s.machine * 1e6 / n
	if s.proxied {
		f["CPU µs/"+unit] = s.proxy.cpu() * 1e6 / n
		f["user µs/"+unit] = s.proxy.user * 1e6 / n
		f["system µs/"+unit] = s.proxy.system * 1e6 / n
	}
}

// machineCPU returns the seconds that all CPUs together were busy since boot.
func machineCPU() (float64, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	return parseMachineCPU(line)
}

// parseMachineCPU adds up the "cpu" line of proc_stat(5): user nice system idle
// iowait irq softirq, all but idle and iowait. Guests are within user.
func parseMachineCPU(line string) (float64, error) {
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat: %q", line)
	}
	var busy float64
	for _, i := range []int{1, 2, 3, 6, 7} {
		ticks, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		busy += float64(ticks) * clockTick
	}
	return busy, nil
}
