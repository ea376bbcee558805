package main

import (
	"cmp"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"l4proxy/bench/traffic"
)

// group is all processes of a peer, including those that outlive the process that
// started them. A child inherits the process group, and keeps it when its parent
// ends; the tree of parents and children does not show such a process any more,
// and nginx clears the environment, so no variable could mark it.
type group struct {
	id int
	// cpu is the CPU time of each process in seconds when it was last seen.
	cpu map[int]float64
}

// groupMember is one process of a group.
type groupMember struct {
	pid   int
	start uint64 // in clock ticks since boot
}

// members returns the processes that have not ended, the oldest first.
func (g *group) members() ([]groupMember, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	var members []groupMember
	for _, p := range all {
		stat, err := p.Stat()
		if err != nil || stat.PGRP != g.id || stat.State == "Z" || stat.State == "X" {
			continue // or it has just ended
		}
		g.cpu[p.PID] = float64(stat.UTime+stat.STime) * clockTick
		members = append(members, groupMember{p.PID, stat.Starttime})
	}
	slices.SortFunc(members, func(a, b groupMember) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.pid, b.pid))
	})
	return members, nil
}

// census is what a group holds at one moment.
type census struct {
	at        int64 // by [traffic.Now]
	processes int
	pss       float64 // bytes
}

// count returns what the group holds now. A process that ends meanwhile is left
// out.
func (g *group) count() (c census, err error) {
	c.at = traffic.Now()
	members, err := g.members()
	if err != nil {
		return c, err
	}
	for _, m := range members {
		p, err := procfs.NewProc(m.pid)
		if err != nil {
			continue
		}
		memory, err := p.ProcSMapsRollup()
		if err != nil {
			continue
		}
		c.processes++
		c.pss += float64(memory.Pss)
	}
	return c, nil
}

// cpuSeconds returns the CPU time of all processes that were ever seen. It misses
// what a process used between when it was last seen and its end.
func (g *group) cpuSeconds() float64 {
	var sum float64
	for _, seconds := range g.cpu {
		sum += seconds
	}
	return sum
}

// reap waits for the orphans of the group that have ended.
func reap(group int) {
	for {
		pid, err := syscall.Wait4(-group, nil, syscall.WNOHANG, nil)
		if pid <= 0 || err != nil {
			return
		}
	}
}

// adoptOrphans makes this process the parent of processes whose parent has ended
// (PR_SET_CHILD_SUBREAPER), so that it can wait for them.
var adoptOrphans = sync.OnceValue(func() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
})
