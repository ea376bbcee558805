package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// kernelMemory returns the bytes that the kernel holds for everything that runs
// on this machine: objects such as sockets, files and pipes, stacks of threads,
// page tables, and what waits in TCP's queues. What is cached is in it too; its
// growth tells something only where nothing else works.
//
// Small segments count twice, as TCP's and as objects: of an idle connection
// there are none.
func kernelMemory() (float64, error) {
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	objects, err := parseKernelObjects(string(meminfo))
	if err != nil {
		return 0, err
	}
	sockstat, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, err
	}
	pages, err := parseTCPPages(string(sockstat))
	return objects + pages*float64(os.Getpagesize()), err
}

// parseKernelObjects adds up what proc_meminfo(5) tells in kB of the kernel's
// own memory, in bytes. Slab is SReclaimable and SUnreclaim: sockets and their
// inodes are in both.
func parseKernelObjects(meminfo string) (float64, error) {
	var sum float64
	found := 0
	for line := range strings.Lines(meminfo) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Slab", "KernelStack", "PageTables":
		default:
			continue
		}
		kilobytes, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/meminfo: %w", err)
		}
		sum += float64(kilobytes) * 1024
		found++
	}
	if found != 3 {
		return 0, fmt.Errorf("/proc/meminfo without Slab, KernelStack or PageTables")
	}
	return sum, nil
}

// parseTCPPages returns the pages that TCP's queues hold in all network
// namespaces: "mem" of the line "TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 3".
func parseTCPPages(sockstat string) (float64, error) {
	for line := range strings.Lines(sockstat) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "TCP:" {
			continue
		}
		for i := 1; i+1 < len(fields); i += 2 {
			if fields[i] == "mem" {
				pages, err := strconv.ParseUint(fields[i+1], 10, 64)
				return float64(pages), err
			}
		}
	}
	return 0, fmt.Errorf("/proc/net/sockstat: no memory of TCP in %q", sockstat)
}
