package main

import (
	"context"
	"time"
)

// sample is what a process and all that it forked hold and use at one time.
type sample struct {
	Seconds float64 // since the first sample
	CPU     float64 // busy CPUs since the sample before
	PSS     float64 // bytes
	FDs     float64
}

// sampleProcess takes a sample of pid and its descendants at once and then
// every so often, until ctx or the process ends. A sample that a descendant
// spoilt by ending meanwhile is left out.
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

// reading is what sampleProcess compares with the one before.
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

// busySince returns how many CPUs were busy since a reading. The CPU time of a
// descendant that ended without being waited for is lost.
func (r reading) busySince(before reading) float64 {
	return max(0, r.cpu.minus(before.cpu).cpu()/r.at.Sub(before.at).Seconds())
}
