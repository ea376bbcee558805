package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	// memoryPerConnection is what an idle connection takes: 0.5 KiB of the process, and two sockets
	// in the kernel, which the group pays for too.
	memoryPerConnection = 512 + 2*4<<10
	// memoryOfProcess is what the proxy takes without connections.
	memoryOfProcess = 32 << 20
)

func memory(f *Facts) []Finding {
	var found []Finding
	if killed := f.groupCounter("memory", "memory.events", "oom_kill") +
		f.groupCounter("memory", "memory.oom_control", "oom_kill"); killed > 0 && f.PID != 0 {
		found = append(found, Finding{
			Level: Warning, Found: fmt.Sprintf("the kernel has killed %d processes of this control group because memory ran out", killed),
			Why: "If it was the proxy, all its connections were cut.",
			Do:  "raise the memory limit (MemoryMax= in systemd, docker run --memory), or lower max_connections",
		})
	}
	limit := f.memoryLimit()
	most, _ := f.maxConnections()
	needs := memoryOfProcess + most*memoryPerConnection
	if limit > 0 && needs > limit {
		fits := max(limit-memoryOfProcess, 0) / memoryPerConnection * 3 / 4 / 100 * 100
		found = append(found, Finding{
			Level: Warning, Found: fmt.Sprintf("the memory limit is %s, and %d connections take %s even when idle", mebibytes(limit), most, mebibytes(needs)),
			Why: "When memory runs out, the kernel kills the proxy, and all connections are cut.",
			Do: fmt.Sprintf("set max_connections: %d, or raise the limit to %s (MemoryMax= in systemd, docker run --memory)",
				max(fits, 100), mebibytes(needs*4/3)),
		})
	}
	if found != nil {
		return found
	}
	if limit > 0 {
		return fine("limit of %s, %d connections take %s when idle", mebibytes(limit), most, mebibytes(needs))
	}
	return fine("no limit")
}

func mebibytes(n int64) string { return strconv.FormatInt((n+1<<20-1)>>20, 10) + " MiB" }

func tcpMemory(f *Facts) []Finding {
	limits := f.numbers(sysctlFile("net.ipv4.tcp_mem"))
	words := strings.Fields(field(f.text(f.process()+"/net/sockstat"), "TCP:"))
	i := slices.Index(words, "mem")
	if len(limits) != 3 || i < 0 || i+1 == len(words) {
		return nil
	}
	pages, err := strconv.ParseInt(words[i+1], 10, 64)
	if err != nil {
		return nil
	}
	do := setSysctl("net.ipv4.tcp_mem", fmt.Sprintf("%d %d %d", 2*limits[0], 2*limits[1], 2*limits[2])) +
		"\nor find the slow readers that hold the bytes: ss -tm"
	switch {
	case pages >= limits[2]:
		return []Finding{{
			Level: Problem, Found: fmt.Sprintf("the sockets hold %d pages, and net.ipv4.tcp_mem allows %d", pages, limits[2]),
			Why: "The kernel drops packets and resets connections until memory is free.", Do: do,
		}}
	case pages >= limits[1]:
		return []Finding{{
			Level: Warning, Found: fmt.Sprintf("the sockets hold %d pages, and memory counts as short from %d pages on (net.ipv4.tcp_mem)", pages, limits[1]),
			Why: "The kernel makes the windows of all connections smaller, which slows them down.", Do: do,
		}}
	}
	return fine("%d pages of %d", pages, limits[2])
}
