package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"l4proxy/proxy"
)

// entriesPerConnection are those of a client's connection and of the backend's.
const entriesPerConnection = 2

func conntrack(f *Facts) []Finding {
	most, ok1 := f.sysctl("net.netfilter.nf_conntrack_max")
	entries, ok2 := f.sysctl("net.netfilter.nf_conntrack_count")
	if !ok1 || !ok2 || most <= 0 {
		return nil // not loaded
	}
	const why = "When the table is full, the kernel drops packets of new connections, of all programs."
	connections, chosen := f.maxConnections()
	var found []Finding
	dropped := f.conntrackDrops()
	switch {
	case entries >= most/100*95:
		found = append(found, Finding{
			Level: Problem, Found: fmt.Sprintf("%d entries, nf_conntrack_max is %d", entries, most),
			Why: why, Do: setSysctl("net.netfilter.nf_conntrack_max", 4*most),
		})
	case entries > most/100*75, dropped > 0:
		found = append(found, Finding{
			Level: Warning, Found: fmt.Sprintf("%d entries, nf_conntrack_max is %d, %d packets were dropped", entries, most, dropped),
			Why: why, Do: setSysctl("net.netfilter.nf_conntrack_max", 4*most),
		})
	case chosen && connections*entriesPerConnection > most:
		found = append(found, Finding{
			Level: Warning, Found: fmt.Sprintf("nf_conntrack_max is %d, and max_connections: %d needs up to %d entries", most, connections, entriesPerConnection*connections),
			Why: why,
			Do: setSysctl("net.netfilter.nf_conntrack_max", 2*entriesPerConnection*connections) +
				"\nor exempt the traffic of the proxy from tracking (notrack of nftables)",
		})
	}
	if found != nil {
		return found
	}
	return fine("%d of %d entries", entries, most)
}

// conntrackDrops is how many packets were dropped because the table was full. The file has a line
// per CPU, in hexadecimal.
func (f *Facts) conntrackDrops() (total int64) {
	lines := strings.Split(f.text("proc/net/stat/nf_conntrack"), "\n")
	column := slices.Index(strings.Fields(lines[0]), "drop")
	for _, line := range lines[1:] {
		if values := strings.Fields(line); column >= 0 && column < len(values) {
			n, _ := strconv.ParseInt(values[column], 16, 64)
			total += n
		}
	}
	return total
}

// pooled is the longest time for which a common load balancer keeps an idle connection to use it
// again: 600 s of Google Cloud. AWS has 350 s (NLB, NAT) and 60 s (ALB), Azure 240 s.
const pooled = 600 * time.Second

// strictest is the shortest time after which a cloud drops an idle flow without a word: Azure.
const strictest = 240 * time.Second

func keepalive(f *Facts) []Finding {
	probes := proxy.DefaultKeepAlive.Idle
	var found []Finding
	if s, ok := f.sysctl("net.netfilter.nf_conntrack_tcp_timeout_established"); ok && time.Duration(s)*time.Second <= probes {
		found = append(found, Finding{
			Level: Warning, Found: fmt.Sprintf("nf_conntrack_tcp_timeout_established is %ds, and the proxy sends keepalive probes after %v", s, probes),
			Why: "The kernel forgets an idle connection before its first probe, and a firewall then drops its packets.",
			Do:  setSysctl("net.netfilter.nf_conntrack_tcp_timeout_established", 86400),
		})
	}
	var short []string
	if f.Config != nil {
		for i := range f.Config.Listeners {
			if l := &f.Config.Listeners[i]; l.Timeouts.Idle > 0 && l.Timeouts.Idle <= pooled {
				short = append(short, fmt.Sprintf("%s (%v)", l.Name, l.Timeouts.Idle))
			}
		}
	}
	if short != nil {
		found = append(found, Finding{
			Level: Note, Found: "timeouts.idle of at most 10 minutes: listener " + shortList(short),
			Why: "A client or load balancer that keeps idle connections for longer (Google Cloud 600s, AWS NLB 350s, Azure 240s) sends its next request on a connection that was just reset.",
			Do:  "set timeouts.idle to more than the idle timeout of whatever is in front, such as 15m; keepalive notices a vanished peer within 2m anyway",
		})
	}
	if found != nil {
		return found
	}
	return fine("probes after %v, before any cloud drops an idle flow (%v)", probes, strictest)
}
