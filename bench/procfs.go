package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// clockTick is the unit of CPU times in /proc: USER_HZ, 100 on every Linux
// that Go runs on.
const clockTick = 1.0 / 100

// usage is what a process and everything it forked holds and has used.
type usage struct {
	user, system float64 // CPU seconds
	pss, rss     float64 // bytes; pages that are shared count in part in pss
	fds          float64
}

func (u usage) cpu() float64 { return u.user + u.system }

func (u usage) minus(v usage) usage {
	return usage{u.user - v.user, u.system - v.system, u.pss - v.pss, u.rss - v.rss, u.fds - v.fds}
}

// cpuOf returns the CPU time of pid and its descendants, those included that
// have ended and been waited for.
func cpuOf(pid int) (usage, error) {
	return sumTree(pid, func(pid int, u *usage) error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return err
		}
		user, system, err := parseStat(stat)
		u.user += user
		u.system += system
		return err
	})
}

// memoryOf returns the memory and descriptors of pid and its descendants.
func memoryOf(pid int) (usage, error) {
	return sumTree(pid, func(pid int, u *usage) error {
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return err
		}
		pss, rss, err := parseRollup(rollup)
		if err != nil {
			return err
		}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		u.pss += pss
		u.rss += rss
		u.fds += float64(len(fds))
		return err
	})
}

// running reports whether the process exists and has not ended: until it is
// waited for, one that has is a zombie.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	state := stat[bytes.LastIndexByte(stat, ')')+1:]
	return !bytes.HasPrefix(state, []byte(" Z")) && !bytes.HasPrefix(state, []byte(" X"))
}

// suspended reports whether SIGSTOP has stopped all threads of the process,
// each of which does so when it comes to it.
func suspended(pid int) (bool, error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return false, err
	}
	for _, task := range tasks {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, task.Name()))
		if err != nil {
			return false, err
		}
		if !bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" T")) {
			return false, nil
		}
	}
	return true, nil
}

func sumTree(pid int, add func(pid int, u *usage) error) (usage, error) {
	var u usage
	pids, err := tree(pid)
	if err != nil {
		return u, err
	}
	for _, pid := range pids {
		if err := add(pid, &u); err != nil {
			return u, err
		}
	}
	return u, nil
}

// tree returns pid and its descendants. Children belong to the thread that
// forked them.
func tree(pid int) ([]int, error) {
	pids := []int{pid}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	for _, task := range tasks {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a thread that has just ended
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

// parseStat reads the CPU seconds from /proc/PID/stat (proc_pid_stat(5)):
// utime, stime, and those of children waited for, fields 14 to 17. The name in
// field 2 may hold spaces and parentheses.
func parseStat(stat []byte) (user, system float64, err error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 15 {
		return 0, 0, fmt.Errorf("/proc stat: %q", stat)
	}
	for i, sum := range []*float64{&user, &system, &user, &system} {
		ticks, err := strconv.ParseInt(string(fields[11+i]), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc stat: %w", err)
		}
		*sum += float64(ticks) * clockTick
	}
	return user, system, nil
}

// parseRollup reads Pss and Rss in bytes from /proc/PID/smaps_rollup.
func parseRollup(rollup []byte) (pss, rss float64, err error) {
	found := 0
	for line := range strings.Lines(string(rollup)) {
		name, value, _ := strings.Cut(line, ":")
		target := &pss
		switch name {
		case "Pss":
		case "Rss":
			target = &rss
		default:
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("smaps_rollup: %w", err)
		}
		*target = float64(kilobytes) * 1024
		found++
	}
	if found != 2 {
		return 0, 0, fmt.Errorf("smaps_rollup without Pss or Rss: %q", rollup)
	}
	return pss, rss, nil
}
