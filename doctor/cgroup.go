package doctor

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// cgroupRoot is where control groups are mounted, cgroups(7).
const cgroupRoot = "sys/fs/cgroup"

// groups are the folders of the control groups that limit the process for a controller, from its
// own to the root; v2 says whether they are of version 2.
func (f *Facts) groups(controller string) (folders []string, v2 bool) {
	own := ""
	for line := range strings.Lines(f.text(f.process() + "/cgroup")) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		if slices.Contains(strings.Split(parts[1], ","), controller) {
			return f.upwards(path.Join(cgroupRoot, controller), parts[2]), false
		}
		if parts[0] == "0" {
			own = parts[2]
		}
	}
	if f.text(path.Join(cgroupRoot, "cgroup.controllers")) == "" && own == "" {
		return nil, false
	}
	return f.upwards(cgroupRoot, own), true
}

// upwards are the folders from a group to the root. In a container, its own group may be mounted as
// the root.
func (f *Facts) upwards(root, group string) (folders []string) {
	for g := path.Join("/", group); ; g = path.Dir(g) {
		folders = append(folders, path.Join(root, g))
		if g == "/" {
			return folders
		}
	}
}

// cpuQuota is the number of CPUs that the process may use the time of; 0 is no limit.
func (f *Facts) cpuQuota() (cpus float64) {
	folders, v2 := f.groups("cpu")
	for _, folder := range folders {
		var quota, period int64
		if v2 {
			words := strings.Fields(f.text(folder + "/cpu.max")) // "max 100000"
			if len(words) != 2 {
				continue
			}
			quota, _ = strconv.ParseInt(words[0], 10, 64)
			period, _ = strconv.ParseInt(words[1], 10, 64)
		} else {
			quota, _ = f.number(folder + "/cpu.cfs_quota_us") // -1 is none
			period, _ = f.number(folder + "/cpu.cfs_period_us")
		}
		if quota > 0 && period > 0 {
			if n := float64(quota) / float64(period); cpus == 0 || n < cpus {
				cpus = n
			}
		}
	}
	return cpus
}

// memoryLimit is the most memory that the process and its neighbors in the group may have; 0 is no
// limit.
func (f *Facts) memoryLimit() (limit int64) {
	folders, v2 := f.groups("memory")
	file := "/memory.limit_in_bytes" // a huge number is none
	if v2 {
		file = "/memory.max" // "max" is none
	}
	for _, folder := range folders {
		if n, ok := f.number(folder + file); ok && n < 1<<60 && (limit == 0 || n < limit) {
			limit = n
		}
	}
	return limit
}

// groupCounter is a counter in a file of the process' own group, such as "oom_kill 2"; 0 if
// there is none.
func (f *Facts) groupCounter(controller, file, name string) int64 {
	folders, _ := f.groups(controller)
	if len(folders) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(field(f.text(folders[0]+"/"+file), name+" "), 10, 64)
	return n
}
