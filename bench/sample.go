package main

import (
	"context"
	"time"
)

// sample is what a process and its descendants hold and use at one moment.
type sample struct {
	Seconds float64 // since the first sample
	CPU     float64 // busy CPUs since the sample before
	PSS     float64 // bytes
	FDs     float64
}

// sampleProcess samples pid and its descendants now and at every interval, until
// ctx or the process ends. It skips a sample if a descendant ends meanwhile.
func sampleProcess(ctx context.Context, pid int, every time.Duration) []sample {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var (
		samples []sample
		before  reading
	)
	first := time.Now()
	for {
		now, err := read(pid)
		switch {
		case err == nil:
			s := sample{Seconds: now.at.Sub(first).Seconds(), PSS: now.memory.pss, FDs: now.memory.fds}
			if len(samples) > 0 {
				s.CPU = now.busySince(before)
			}
			samples, before = append(samples, s), now
		case !running(pid):
			return samples
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return samples
		}
	}
}

// reading is what two samples are computed from.
type reading struct {
	at          time.Time
	cpu, memory usage
}

func read(pid int) (r reading, err error) {
	r.at = time.Now()
	if r.cpu, err = cpuOf(pid); err != nil {
		return r, err
	}
	r.memory, err = memoryOf(pid)
	return r, err
}

// busySince returns how many CPUs were busy since a reading. It misses the CPU time
// of a descendant that ended without being waited for.
func (r reading) busySince(before reading) float64 {
	return max(0, r.cpu.minus(before.cpu).cpu()/r.at.Sub(before.at).Seconds())
}
