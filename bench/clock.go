package main

import "github.com/prometheus/procfs"

// clock measures the CPU time that a piece of work takes, in the proxy and in the
// whole machine. /proc counts in units of 10 ms; work takes seconds.
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

// add adds the CPU time per unit, in microseconds, of n units to f.
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
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	stat, err := proc.Stat()
	return busy(stat.CPUTotal), err
}

// busy adds up all but idle, iowait and steal. User and nice include the time of
// guests (proc_stat(5)).
func busy(c procfs.CPUStat) float64 { return c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ }
