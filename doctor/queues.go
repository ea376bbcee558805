package doctor

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// shortQueue is a limit that an ordinary burst of clients reaches; kernels before 5.4 have 128.
	shortQueue = 1024
	goodQueue  = 4096
)

func acceptQueue(f *Facts) []Finding {
	var found []Finding
	queue, ok := f.sysctl("net.core.somaxconn")
	if !ok {
		return nil
	}
	if queue < shortQueue {
		found = append(found, Finding{
			Level: Warning, Found: fmt.Sprintf("net.core.somaxconn is %d", queue),
			Why: "It is the length of each accept queue: in a burst, clients beyond it try again a second later, or fail.",
			Do:  setSysctl("net.core.somaxconn", goodQueue) + "\nthen restart the proxy: a socket keeps the queue length that it was opened with",
		})
	}
	cookies, known := f.sysctl("net.ipv4.tcp_syncookies")
	if syn, ok := f.sysctl("net.ipv4.tcp_max_syn_backlog"); ok && known && cookies == 0 {
		found = append(found, Finding{
			Level: Warning, Found: fmt.Sprintf("net.ipv4.tcp_syncookies is 0, net.ipv4.tcp_max_syn_backlog is %d", syn),
			Why: "Without cookies, a flood of SYN packets keeps real clients out.",
			Do:  setSysctl("net.ipv4.tcp_syncookies", 1),
		})
	}
	counters := f.netstat()
	if full := counters["ListenOverflows"]; full > 0 {
		level, whose := Note, "of any program"
		if f.PID != 0 && queue <= goodQueue {
			level, whose = Warning, "of the proxy or of another program"
		}
		found = append(found, Finding{
			Level: level, Found: fmt.Sprintf("%d clients found an accept queue %s full since boot (ListenOverflows)", full, whose),
			Why: "Such a client tries again a second later, or fails.",
			Do:  "ss -lnt: a queue with Recv-Q near Send-Q is full now. If it is the proxy's, raise max_connections or net.core.somaxconn",
		})
	}
	if found != nil {
		return found
	}
	return fine("net.core.somaxconn %d, no client has found a queue full", queue)
}

// netstat are the counters TcpExt of the network namespace.
func (f *Facts) netstat() map[string]int64 {
	counters := make(map[string]int64)
	var names []string
	for line := range strings.Lines(f.text(f.process() + "/net/netstat")) {
		rest, ok := strings.CutPrefix(line, "TcpExt:")
		if !ok {
			continue
		}
		values := strings.Fields(rest)
		if names == nil {
			names = values
			continue
		}
		for i := range min(len(names), len(values)) {
			counters[names[i]], _ = strconv.ParseInt(values[i], 10, 64)
		}
	}
	return counters
}
