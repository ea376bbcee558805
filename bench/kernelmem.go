package main

import (
	"errors"
	"os"

	"github.com/prometheus/procfs"
)

// kernelMemory returns the bytes that the kernel holds for everything that runs
// on this machine: objects such as sockets, files and pipes, stacks of threads,
// page tables, and TCP's queues. Caches are included, so only the growth of the
// figure means something, and only while the machine does nothing else.
//
// Small segments count twice, as TCP's and as objects. Idle connections hold no
// segments.
func kernelMemory() (float64, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	meminfo, err := proc.Meminfo()
	if err != nil {
		return 0, err
	}
	sockstat, err := proc.NetSockstat()
	if err != nil {
		return 0, err
	}
	return kernelBytes(meminfo, sockstat)
}

// kernelBytes adds up the kernel's own memory. Slab is SReclaimable and
// SUnreclaim: sockets and their inodes are in both. The pages of TCP's queues
// are those of all network namespaces.
func kernelBytes(m procfs.Meminfo, s *procfs.NetSockstat) (float64, error) {
	if m.SlabBytes == nil || m.KernelStackBytes == nil || m.PageTablesBytes == nil {
		return 0, errors.New("/proc/meminfo without Slab, KernelStack or PageTables")
	}
	objects := float64(*m.SlabBytes + *m.KernelStackBytes + *m.PageTablesBytes)
	for _, p := range s.Protocols {
		if p.Protocol == "TCP" && p.Mem != nil {
			return objects + float64(*p.Mem*os.Getpagesize()), nil
		}
	}
	return 0, errors.New("/proc/net/sockstat without the memory of TCP")
}
