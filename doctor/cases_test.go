package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"testing/fstest"
)

const (
	big       = `{max_connections: 100000, listeners: {web: {bind: "127.0.0.1:8080"}}, pools: {app: {backends: ["127.0.0.1:8081"]}}}`
	withNames = `{listeners: {web: {bind: "127.0.0.1:8080"}}, pools: {app: {backends: ["db.example.com:8081"]}}}`
	lowPort   = `{listeners: {web: {bind: "0.0.0.0:80"}}, pools: {app: {backends: ["127.0.0.1:8081"]}}}`
	onIPv6    = `{listeners: {web: {bind: "[::]:8080"}}, pools: {app: {backends: ["127.0.0.1:8081"]}}}`
)

var tests = []test{
	{check: "configuration", name: "fine", config: simple, level: OK},
	{
		check: "configuration", name: "unusable", adjust: func(f *Facts) { f.ConfigErrors = []string{"a.yaml:1:2: wrong: write right"} },
		level: Problem, found: "a.yaml:1:2: wrong", do: "l4proxy check",
	},
	{
		check: "configuration", name: "warnings", level: Warning, found: "", do: "reload",
		config: `{admin: {bind: "127.0.0.1:9901", token: short}, listeners: {web: {bind: "127.0.0.1:8080"}}, pools: {app: {backends: ["127.0.0.1:8081"]}}}`,
	},

	{check: "process", name: "this program", adjust: running, level: OK, found: "process 77, version 1.0"},
	{
		check: "process", name: "another version", adjust: as(running, func(f *Facts) { f.Status.Version = "0.9" }),
		level: Note, found: "version 0.9 is running; this program is version 1.0", do: "l4proxy upgrade",
	},
	{
		check: "process", name: "binary replaced", adjust: running, changes: map[string]string{"proc/77/exe": "-> /usr/bin/l4proxy (deleted)"},
		level: Note, found: "binary of process 77 was replaced", do: "l4proxy upgrade",
	},
	{
		check: "process", name: "in a container", adjust: running, changes: map[string]string{"proc/77/ns/net": "-> net:[1]"},
		level: Warning, found: "another network namespace", do: "nsenter --net --target 77",
	},

	{check: "descriptors", name: "the hard limit counts for a start", level: OK, found: "limit of 1048576 open files"},
	{
		check: "descriptors", name: "low", changes: map[string]string{"proc/self/limits": limits(4096)},
		level: Warning, found: "4096, enough for 18", do: "LimitNOFILE=1048576",
	},
	{
		check: "descriptors", name: "too low for max_connections", config: big, changes: map[string]string{"proc/self/limits": limits(65536)},
		level: Problem, found: "65536, and max_connections: 100000 needs 200", do: "ulimit -n 200",
	},
	{
		check: "descriptors", name: "more than the kernel allows", config: big,
		changes: map[string]string{"proc/self/limits": limits(65536), "proc/sys/fs/nr_open": "100000"},
		level:   Problem, do: "sysctl -w fs.nr_open=200",
	},
	{
		check: "descriptors", name: "the soft limit counts for a running proxy", adjust: running, config: big,
		changes: map[string]string{"proc/77/limits": "Max open files   1024   524288   files\n"},
		level:   Problem, found: "1024", do: "systemctl edit l4proxy.service: in [Service], LimitNOFILE=200",
	},
	{
		check: "descriptors", name: "nearly used up", changes: map[string]string{"proc/77/limits": limits(20000)},
		adjust: as(running, func(f *Facts) {
			for i := range 19_000 {
				f.Root.(fstest.MapFS)[fmt.Sprintf("proc/77/fd/%d", i)] = new(fstest.MapFile)
			}
		}),
		level: Problem, found: "19000 of at most 20000 files open", do: "l4proxy status",
	},
	{
		check: "descriptors", name: "machine has none left", changes: map[string]string{"proc/sys/fs/file-nr": "95000 0 100000"},
		level: Problem, found: "fs.file-max is 100000", do: "sysctl -w fs.file-max=200000",
	},
	{
		check: "descriptors", name: "machine has too few", config: big, changes: map[string]string{"proc/sys/fs/file-nr": "5000 0 100000"},
		level: Warning, found: "100000 connections need 200000 more", do: "fs.file-max=410000",
	},

	{check: "accept-queue", name: "long", level: OK, found: "net.core.somaxconn 4096"},
	{
		check: "accept-queue", name: "short", changes: map[string]string{"proc/sys/net/core/somaxconn": "128"},
		level: Warning, found: "net.core.somaxconn is 128", do: "sysctl -w net.core.somaxconn=4096",
	},
	{
		check: "accept-queue", name: "no cookies", changes: map[string]string{"proc/sys/net/ipv4/tcp_syncookies": "0"},
		level: Warning, found: "tcp_syncookies is 0", do: "sysctl -w net.ipv4.tcp_syncookies=1",
	},
	{
		check: "accept-queue", name: "overflows", changes: map[string]string{"proc/self/net/netstat": "TcpExt: A ListenOverflows\nTcpExt: 7 12\n"},
		level: Note, found: "12 clients", do: "ss -lnt",
	},
	{
		check: "accept-queue", name: "overflows beside the proxy", adjust: running,
		changes: map[string]string{"proc/77/net/netstat": "TcpExt: A ListenOverflows\nTcpExt: 7 12\n"},
		level:   Warning, found: "of the proxy or of another program", do: "ss -lnt",
	},

	{check: "source-ports", name: "the default", config: simple, level: OK, found: "28232 for each backend"},
	{
		check: "source-ports", name: "few", changes: map[string]string{"proc/sys/net/ipv4/ip_local_port_range": "60000 65000"},
		level: Warning, found: "5001 source ports", do: `net.ipv4.ip_local_port_range="10240 65535"`,
	},
	{
		check: "source-ports", name: "few that are not reserved", changes: map[string]string{"proc/sys/net/ipv4/ip_local_reserved_ports": "33000,40000-59999"},
		level: Warning, found: "8231 source ports",
	},
	{
		check: "source-ports", name: "fewer than connections", config: big,
		level: Warning, found: "28232 source ports, and up to 100000 connections to each backend of pool app", do: "more backend addresses",
	},
	{
		check: "source-ports", name: "fewer than a backend takes", level: Warning, found: "up to 30000 connections",
		config: `{listeners: {web: {bind: "127.0.0.1:8080"}}, pools: {app: {backends: [{address: "127.0.0.1:8081", max_connections: 30000}]}}}`,
	},
	{
		check: "source-ports", name: "unix sockets need none", level: OK,
		config: `{max_connections: 100000, listeners: {web: {bind: "127.0.0.1:8080"}}, pools: {app: {backends: ["unix:/run/a", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4"]}}}`,
	},

	{check: "listening-ports", name: "below the range", config: simple, level: OK},
	{
		check: "listening-ports", name: "in the range", level: Warning, found: "listener web (0.0.0.0:40000), backend 127.0.0.1:50000",
		config: `{listeners: {web: {bind: "0.0.0.0:40000"}}, pools: {app: {backends: ["127.0.0.1:50000", "192.0.2.1:50001"]}}}`,
		do:     "sysctl -w net.ipv4.ip_local_reserved_ports=40000,50000",
	},
	{
		check: "listening-ports", name: "some are reserved", level: Warning, found: "listener web (0.0.0.0:40000)", do: "ip_local_reserved_ports=40000,50000",
		config:  `{listeners: {web: {bind: "0.0.0.0:40000"}}, pools: {app: {backends: ["127.0.0.1:50000"]}}}`,
		changes: map[string]string{"proc/sys/net/ipv4/ip_local_reserved_ports": "50000"},
	},
	{
		check: "listening-ports", name: "all are reserved", level: OK,
		config:  `{listeners: {web: {bind: "0.0.0.0:40000-40010"}}, pools: {app: {backends: ["127.0.0.1:50000"]}}}`,
		changes: map[string]string{"proc/sys/net/ipv4/ip_local_reserved_ports": "40000-50000"},
	},

	{check: "time-wait", name: "few", level: OK, found: "142 sockets"},
	{
		check: "time-wait", name: "many ports held", changes: map[string]string{"proc/self/net/sockstat": "TCP: inuse 1 tw 20000 mem 1\n"},
		level: Warning, found: "20000 sockets are in TIME_WAIT, with 28232 source ports", do: "sysctl -w net.ipv4.tcp_tw_reuse=1",
	},
	{
		check: "time-wait", name: "ports are used again", level: OK,
		changes: map[string]string{"proc/self/net/sockstat": "TCP: inuse 1 tw 20000 mem 1\n", "proc/sys/net/ipv4/tcp_tw_reuse": "1"},
	},
	{
		check: "time-wait", name: "no bucket left", level: Warning, found: "at most 4096 are allowed", do: "net.ipv4.tcp_max_tw_buckets=16384",
		changes: map[string]string{"proc/self/net/sockstat": "TCP: inuse 1 tw 4096 mem 1\n", "proc/sys/net/ipv4/tcp_max_tw_buckets": "4096"},
	},

	{check: "conntrack", name: "empty", level: OK, found: "100 of 262144"},
	{
		check: "conntrack", name: "full", changes: map[string]string{"proc/sys/net/netfilter/nf_conntrack_count": "262000"},
		level: Problem, found: "262000 entries", do: "sysctl -w net.netfilter.nf_conntrack_max=1048576",
	},
	{
		check: "conntrack", name: "filling up", changes: map[string]string{"proc/sys/net/netfilter/nf_conntrack_count": "200000"},
		level: Warning, found: "200000 entries", do: "nf_conntrack_max=1048576",
	},
	{
		check: "conntrack", name: "has dropped", changes: map[string]string{"proc/net/stat/nf_conntrack": "entries drop x\n01 0a 0\n01 10 0\n"},
		level: Warning, found: "26 packets were dropped",
	},
	{
		check: "conntrack", name: "too small", config: big, changes: map[string]string{"proc/sys/net/netfilter/nf_conntrack_max": "65536"},
		level: Warning, found: "max_connections: 100000 needs up to 200000 entries", do: "nf_conntrack_max=400000",
	},

	{check: "keepalive", name: "the default", config: simple, level: OK, found: "probes after 1m0s"},
	{
		check: "keepalive", name: "short idle timeout", level: Note, found: "listener web (5m0s)", do: "15m",
		config: `{listeners: {web: {bind: "127.0.0.1:8080", timeouts: {idle: 5m}}}, pools: {app: {backends: ["127.0.0.1:8081"]}}}`,
	},
	{
		check: "keepalive", name: "forgotten by the kernel", changes: map[string]string{"proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established": "60"},
		level: Warning, found: "nf_conntrack_tcp_timeout_established is 60s", do: "=86400",
	},

	{check: "io_uring", name: "works", level: OK},
	{
		check: "io_uring", name: "old kernel", adjust: noRing, changes: map[string]string{"proc/sys/kernel/osrelease": "5.15.0-91-generic"},
		level: Note, found: "kernel 5.15.0-91-generic", do: "Linux 6.1",
	},
	{
		check: "io_uring", name: "disabled", adjust: noRing, changes: map[string]string{"proc/sys/kernel/io_uring_disabled": "2"},
		level: Note, found: "kernel.io_uring_disabled is 2", do: "sysctl -w kernel.io_uring_disabled=0",
	},
	{
		check: "io_uring", name: "seccomp", adjust: noRing, changes: map[string]string{"proc/self/status": "CapEff:\t0\nSeccomp:\t2\n"},
		level: Note, found: "seccomp", do: "--security-opt seccomp=",
	},
	{
		check: "io_uring", name: "locked memory", adjust: noRing, changes: map[string]string{"proc/self/limits": limits(1<<20) + "Max locked memory 65536 65536 bytes\n"},
		level: Note, found: "64 KiB of locked memory", do: "LimitMEMLOCK=8388608",
	},
	{check: "io_uring", name: "unknown cause", adjust: noRing, level: Note, found: "forbidden", do: "engine: epoll"},
	{
		check: "io_uring", name: "asked for", adjust: noRing, level: Problem, found: "forbidden",
		config: `{engine: io_uring, listeners: {web: {bind: "127.0.0.1:8080"}}, pools: {app: {backends: ["127.0.0.1:8081"]}}}`,
	},
	{
		check: "io_uring", name: "only in the shell", adjust: as(running, func(f *Facts) { f.Status.Engine = "epoll" }),
		level: Note, found: "the running proxy uses epoll", do: "io_uring unavailable",
	},

	{check: "pipes", name: "enough for four workers", level: OK, found: "8192 needed"},
	{
		check: "pipes", name: "too few", adjust: func(f *Facts) { f.CPUs = 16 },
		level: Warning, found: "fs.pipe-user-pages-soft is 16384, and the pipes of 16 workers take up to 32768", do: "fs.pipe-user-pages-soft=65536",
	},
	{
		check: "pipes", name: "a hard limit", changes: map[string]string{"proc/sys/fs/pipe-user-pages-hard": "4096"},
		level: Warning, found: "fs.pipe-user-pages-hard is 4096", do: "fs.pipe-user-pages-hard=16384",
	},

	{check: "clock", name: "tsc", level: OK, found: "tsc"},
	{
		check: "clock", name: "hpet", changes: map[string]string{clockFolder + "current_clocksource": "hpet"},
		level: Warning, found: "hpet", do: "echo tsc > /sys/devices/system/clocksource",
	},
	{
		check: "clock", name: "nothing better", level: Warning, found: "acpi_pm", do: "dmesg",
		changes: map[string]string{clockFolder + "current_clocksource": "acpi_pm", clockFolder + "available_clocksource": "acpi_pm hpet"},
	},

	{check: "cpu", name: "no quota", level: OK},
	{
		check: "cpu", name: "quota of a parent, version 2", changes: map[string]string{"sys/fs/cgroup/system.slice/cpu.max": "150000 100000"},
		level: Warning, found: "4 workers, and a quota of 1.5 CPUs", do: "workers: 2",
	},
	{
		check: "cpu", name: "quota that is enough", changes: map[string]string{"sys/fs/cgroup/system.slice/cpu.max": "400000 100000"},
		level: OK, found: "quota of 4 CPUs",
	},
	{
		check: "cpu", name: "less than one CPU, version 1", level: Warning, found: "quota of 0.5 CPUs", do: "raise the quota to one CPU",
		changes: map[string]string{
			"proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n0::/\n", "sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us": "50000",
			"sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us": "100000",
		},
	},
	{
		check: "cpu", name: "more workers than CPUs", level: Warning, found: "8 workers on 4 CPUs", do: "workers: auto",
		config: `{workers: 8, listeners: {web: {bind: "127.0.0.1:8080"}}, pools: {app: {backends: ["127.0.0.1:8081"]}}}`,
	},
	{
		check: "cpu", name: "an event loop has bound the first thread", adjust: running, level: OK, found: "4 workers",
		config: `{workers: 4, listeners: {web: {bind: "127.0.0.1:8080"}}, pools: {app: {backends: ["127.0.0.1:8081"]}}}`,
		changes: map[string]string{
			"proc/77/status": "Name:\tl4proxy\nCpus_allowed_list:\t1\n", "proc/77/task/77/status": "Cpus_allowed_list:\t1\n",
			"proc/77/task/78/status": "Cpus_allowed_list:\t0-3\n",
		},
	},
	{
		check: "cpu", name: "throttled", adjust: running, level: Warning, found: "throttled in 20%", do: "raise the quota",
		changes: map[string]string{"sys/fs/cgroup/system.slice/l4proxy.service/cpu.stat": "nr_periods 1000\nnr_throttled 200\n"},
	},

	{check: "numa", name: "one node", level: OK},
	{
		check: "numa", name: "two nodes", level: Note, found: "2 NUMA nodes", do: "CPUAffinity=0-1 ",
		changes: map[string]string{"sys/devices/system/node/node0/cpulist": "0-1", "sys/devices/system/node/node1/cpulist": "2-3"},
	},
	{
		check: "numa", name: "bound to one of two", level: OK,
		changes: map[string]string{"sys/devices/system/node/node1/cpulist": "4-7"},
	},

	{check: "memory", name: "no limit", level: OK, found: "no limit"},
	{
		check: "memory", name: "a container with many descriptors", level: Warning, found: "the memory limit is 256 MiB, and 5", do: "set max_connections: 20",
		changes: map[string]string{"sys/fs/cgroup/system.slice/ssh.service/memory.max": "268435456"},
	},
	{
		check: "memory", name: "enough", config: big, level: OK, found: "limit of 2048 MiB, 100000 connections take 863 MiB",
		changes: map[string]string{"sys/fs/cgroup/system.slice/ssh.service/memory.max": "2147483648"},
	},
	{
		check: "memory", name: "version 1", config: big, level: Warning, found: "256 MiB", do: "raise the limit to 11",
		changes: map[string]string{"proc/self/cgroup": "4:memory:/x\n0::/\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "268435456"},
	},
	{
		check: "memory", name: "killed", adjust: running, level: Warning, found: "killed 2 processes", do: "MemoryMax=",
		changes: map[string]string{"sys/fs/cgroup/system.slice/l4proxy.service/memory.events": "low 0\noom 2\noom_kill 2\n"},
	},

	{check: "tcp-memory", name: "little in use", level: OK, found: "240 pages of 575796"},
	{
		check: "tcp-memory", name: "short", changes: map[string]string{"proc/self/net/sockstat": "TCP: inuse 1 tw 1 mem 400000\n"},
		level: Warning, found: "400000 pages, and memory counts as short from 383865", do: `net.ipv4.tcp_mem="575796 767730 1151592"`,
	},
	{
		check: "tcp-memory", name: "used up", changes: map[string]string{"proc/self/net/sockstat": "TCP: inuse 1 tw 1 mem 600000\n"},
		level: Problem, found: "600000 pages", do: "ss -tm",
	},

	{check: "privileges", name: "not root", adjust: running, config: simple, level: OK, found: "only what it needs"},
	{
		check: "privileges", name: "root", adjust: running, config: simple, changes: map[string]string{"proc/77/status": "Uid:\t0 0 0 0\n"},
		level: Note, found: "the proxy runs as root", do: "set user:",
	},
	{
		check: "privileges", name: "root until it is started", adjust: running, changes: map[string]string{"proc/77/status": "Uid:\t999 0 0 0\n"},
		config: "{user: daemon, " + simple[1:], level: OK,
	},
	{
		check: "privileges", name: "off", config: "{confine: off, " + simple[1:],
		level: Note, found: "confine is off", do: "set confine: auto",
	},
	{
		check: "privileges", name: "an old kernel", config: simple, adjust: func(f *Facts) { f.Landlock = 0 },
		level: Note, found: "the kernel lacks Landlock", do: "Linux 5.13",
	},

	{check: "low-ports", name: "none", config: simple, level: OK},
	{check: "low-ports", name: "without the privilege", config: lowPort, level: Problem, found: "this user may not listen on ports below 1024: listener web (0.0.0.0:80)", do: "ip_unprivileged_port_start=80"},
	{check: "low-ports", name: "with the privilege", config: lowPort, adjust: running, level: OK, found: "allowed"},
	{
		check: "low-ports", name: "for everyone", config: lowPort, level: OK,
		changes: map[string]string{"proc/sys/net/ipv4/ip_unprivileged_port_start": "0"},
	},

	{check: "ipv6", name: "there is one", config: onIPv6, level: OK},
	{
		check: "ipv6", name: "disabled", config: onIPv6, changes: map[string]string{"proc/sys/net/ipv6/conf/all/disable_ipv6": "1"},
		level: Problem, found: "listener web ([::]:8080)", do: "disable_ipv6=0",
	},
	{
		check: "ipv6", name: "backend", changes: map[string]string{"proc/self/net/if_inet6": ""}, level: Problem, found: "backend [2001:db8::1]:80",
		config: `{listeners: {web: {bind: "127.0.0.1:8080"}}, pools: {app: {backends: ["[2001:db8::1]:80"]}}}`,
	},

	{check: "name-servers", name: "answer", config: withNames, level: OK},
	{check: "name-servers", name: "none", config: withNames, changes: map[string]string{"etc/resolv.conf": "search x\n"}, level: Warning, found: "names no name server", do: "nameserver"},
	{
		check: "name-servers", name: "silent", config: withNames, level: Warning, found: "10.0.0.2 does not answer: no answer in 2s", do: "/etc/resolv.conf",
		adjust: func(f *Facts) { f.AskNameServer = func(netip.Addr) error { return errors.New("no answer in 2s") } },
	},
}
