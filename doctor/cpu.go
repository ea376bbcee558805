package doctor

import (
	"fmt"
	"io/fs"
	"maps"
	"math"
	"strconv"
	"strings"
)

func cpu(f *Facts) []Finding {
	workers, quota := f.workers(), f.cpuQuota()
	allowed := len(f.cpus())
	var found []Finding
	switch {
	case quota > 0 && float64(workers) > math.Ceil(quota):
		found = append(found, Finding{
			Level: Warning, Found: fmt.Sprintf("%d workers, and a quota of %.3g CPUs", workers, quota),
			Why: "The workers use up the quota together, and then all clients wait for the rest of each period.",
			Do:  fmt.Sprintf("set workers: %d, or raise the quota (CPUQuota=%d%% in systemd, docker run --cpus %[2]d)", int(math.Ceil(quota)), 100*workers),
		})
		if quota < 1 {
			found[0].Do = "raise the quota to one CPU or more (CPUQuota=100% in systemd, docker run --cpus 1), or set workers: 1"
		}
	case allowed > 0 && workers > allowed:
		cpus := fmt.Sprintf("%d CPUs", allowed)
		if allowed == 1 {
			cpus = "1 CPU"
		}
		found = append(found, Finding{
			Level: Warning, Found: fmt.Sprintf("%d workers on %s", workers, cpus),
			Why: "Workers that share a CPU wait for each other.",
			Do:  fmt.Sprintf("set workers: auto or %d, or allow more CPUs (CPUAffinity= or AllowedCPUs= in systemd)", allowed),
		})
	}
	if f.PID != 0 {
		periods, throttled := f.groupCounter("cpu", "cpu.stat", "nr_periods"), f.groupCounter("cpu", "cpu.stat", "nr_throttled")
		if throttled > periods/20 {
			found = append(found, Finding{
				Level: Warning, Found: fmt.Sprintf("the proxy was throttled in %d%% of the periods of its quota", 100*throttled/periods),
				Why: "All its clients wait meanwhile, up to a tenth of a second each time.",
				Do:  "raise the quota (CPUQuota= in systemd, docker run --cpus), or limit the load (max_connections)",
			})
		}
	}
	if found != nil {
		return found
	}
	if quota > 0 {
		return fine("%d workers, quota of %.3g CPUs", workers, quota)
	}
	return fine("%d workers, no quota", workers)
}

// cpus are those that the process may use. Each event loop binds its thread to one of them, and
// that thread may be the one whose line the process shows, so all threads are asked.
func (f *Facts) cpus() map[int]bool {
	all := cpuSet(f.status("Cpus_allowed_list"))
	threads, err := fs.Glob(f.Root, f.process()+"/task/*/status")
	if err != nil {
		return all
	}
	for _, thread := range threads {
		maps.Copy(all, cpuSet(field(f.text(thread), "Cpus_allowed_list:")))
	}
	return all
}

// cpuSet reads a list such as "0-3,8".
func cpuSet(list string) map[int]bool {
	set := make(map[int]bool)
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(first)
		to := from
		if isRange && err == nil {
			to, err = strconv.Atoi(last)
		}
		for n := from; err == nil && n <= to; n++ {
			set[n] = true
		}
	}
	return set
}

func numa(f *Facts) []Finding {
	nodes, err := fs.Glob(f.Root, "sys/devices/system/node/node[0-9]*")
	if err != nil || len(nodes) == 0 {
		return nil
	}
	allowed := f.cpus()
	used := 0
	var first string
	for _, node := range nodes {
		list := f.text(node + "/cpulist")
		for n := range cpuSet(list) {
			if allowed[n] {
				if used++; used == 1 {
					first = list
				}
				break
			}
		}
	}
	if used < 2 {
		return fine("one node")
	}
	return []Finding{{
		Level: Note, Found: fmt.Sprintf("the proxy may run on %d NUMA nodes", used),
		Why: "A worker that serves a network card or memory of another node is slower by a third or so.",
		Do:  fmt.Sprintf("keep it on the node of the network card: CPUAffinity=%s and NUMAPolicy=local in the unit, or numactl --cpunodebind", first),
	}}
}
