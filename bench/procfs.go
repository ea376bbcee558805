package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// clockTick is the unit of CPU times in /proc/PID/stat: USER_HZ, which is 100 on
// every Linux that Go runs on.
const clockTick = 1.0 / 100

// usage is what a process and everything it forked holds and has used.
type usage struct {
	user, system float64 // CPU seconds
	pss, rss     float64 // bytes; pss counts shared pages in part
	fds          float64
}

func (u usage) cpu() float64 { return u.user + u.system }

func (u usage) minus(v usage) usage {
	return usage{u.user - v.user, u.system - v.system, u.pss - v.pss, u.rss - v.rss, u.fds - v.fds}
}

// cpuOf returns the CPU time of pid and its descendants, including descendants
// that have ended and been waited for.
func cpuOf(pid int) (usage, error) {
	return sumTree(pid, func(p procfs.Proc, u *usage) error {
		stat, err := p.Stat()
		u.addCPU(stat)
		return err
	})
}

func (u *usage) addCPU(stat procfs.ProcStat) {
	u.user += float64(int(stat.UTime)+stat.CUTime) * clockTick
	u.system += float64(int(stat.STime)+stat.CSTime) * clockTick
}

// memoryOf returns the memory and descriptors of pid and its descendants.
func memoryOf(pid int) (usage, error) {
	return sumTree(pid, func(p procfs.Proc, u *usage) error {
		memory, err := p.ProcSMapsRollup()
		if err != nil {
			return err
		}
		fds, err := p.FileDescriptorsLen()
		u.pss += float64(memory.Pss)
		u.rss += float64(memory.Rss)
		u.fds += float64(fds)
		return err
	})
}

// running reports whether the process exists and has not ended. A process that
// has ended is a zombie until its parent waits for it.
func running(pid int) bool {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return false
	}
	stat, err := p.Stat()
	return err == nil && stat.State != "Z" && stat.State != "X"
}

// suspended reports whether SIGSTOP has stopped every thread of the process.
// They do not stop all at the same moment.
func suspended(pid int) (bool, error) {
	threads, err := procfs.AllThreads(pid)
	if err != nil {
		return false, err
	}
	for _, thread := range threads {
		stat, err := thread.Stat()
		if err != nil || stat.State != "T" {
			return false, err
		}
	}
	return true, nil
}

func sumTree(pid int, add func(p procfs.Proc, u *usage) error) (usage, error) {
	var u usage
	pids, err := tree(pid)
	if err != nil {
		return u, err
	}
	for _, pid := range pids {
		p, err := procfs.NewProc(pid)
		if err != nil {
			return u, err
		}
		if err := add(p, &u); err != nil {
			return u, err
		}
	}
	return u, nil
}

// tree returns pid and its descendants. The kernel lists children under the thread that
// forked them; the library does not read that list.
func tree(pid int) ([]int, error) {
	pids := []int{pid}
	threads, err := procfs.AllThreads(pid)
	if err != nil {
		return nil, err
	}
	for _, thread := range threads {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, thread.PID))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the thread has just ended
		}
		if err != nil {
			return nil, err
		}
		for _, field := range strings.Fields(string(children)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, err
			}
			below, err := tree(child)
			if err != nil {
				return nil, err
			}
			pids = append(pids, below...)
		}
	}
	return pids, nil
}
