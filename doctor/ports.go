package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"l4proxy/config"
)

const (
	// fewPorts is a range that a busy service exhausts; the kernel's default has 28232 ports.
	fewPorts = 10_000
	// widePorts is a range that leaves the usual ports of servers alone.
	widePorts = "10240 65535"
)

// sourceRange is the range of ports for outgoing connections, and how many of them are not
// reserved.
func (f *Facts) sourceRange() (low, high, free int64, ok bool) {
	bounds := f.numbers(sysctlFile("net.ipv4.ip_local_port_range"))
	if len(bounds) != 2 {
		return 0, 0, 0, false
	}
	low, high = bounds[0], bounds[1]
	free = high - low + 1
	for _, r := range f.reserved() {
		free -= max(0, min(r[1], high)-max(r[0], low)+1)
	}
	return low, high, max(free, 0), true
}

// reserved are the ranges of ports that no outgoing connection gets by itself.
func (f *Facts) reserved() (ranges [][2]int64) {
	for part := range strings.SplitSeq(f.text(sysctlFile("net.ipv4.ip_local_reserved_ports")), ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.ParseInt(first, 10, 64)
		to := from
		if isRange && err == nil {
			to, err = strconv.ParseInt(last, 10, 64)
		}
		if err == nil {
			ranges = append(ranges, [2]int64{from, to})
		}
	}
	return ranges
}

func sourcePorts(f *Facts) []Finding {
	_, _, free, ok := f.sourceRange()
	if !ok {
		return nil
	}
	const why = "Each connection to the same backend address takes a source port; when they run out, dials fail with the reason local_ports."
	widen := setSysctl("net.ipv4.ip_local_port_range", widePorts)
	pool, most := f.busiest()
	switch {
	case free < fewPorts:
		return []Finding{{Level: Warning, Found: fmt.Sprintf("%d source ports (net.ipv4.ip_local_port_range)", free), Why: why, Do: widen}}
	case most > free:
		return []Finding{{
			Level: Warning, Found: fmt.Sprintf("%d source ports, and up to %d connections to each backend of pool %s", free, most, pool),
			Why: why, Do: widen + "\nor more backend addresses, or max_connections of the backends",
		}}
	}
	return fine("%d for each backend address", free)
}

// busiest is the pool whose backends may get the most connections each, as far as an operator has
// chosen numbers: a limit that follows from the limit of open files is far above what is expected.
func (f *Facts) busiest() (name string, most int64) {
	if f.Config == nil {
		return "", 0
	}
	for i := range f.Config.Pools {
		p := &f.Config.Pools[i]
		var active int64
		for _, b := range p.Backends {
			if b.Down || b.Address.IsUnix() {
				continue
			}
			active++
			if n := int64(b.MaxConnections); n > most {
				name, most = p.Name, n
			}
		}
		if share := f.shareOf(p.Name) / max(active, 1); share > most {
			name, most = p.Name, share
		}
	}
	return name, most
}

// shareOf is how many connections the listeners of a pool may have.
func (f *Facts) shareOf(pool string) (all int64) {
	for i := range f.Config.Listeners {
		if l := &f.Config.Listeners[i]; slices.Contains(l.PoolNames(), pool) {
			all += int64(cmp.Or(l.MaxConnections, f.Config.MaxConnections))
		}
	}
	if process := int64(f.Config.MaxConnections); process > 0 {
		all = min(all, process)
	}
	return all
}

func listeningPorts(f *Facts) []Finding {
	low, high, _, ok := f.sourceRange()
	if !ok || f.Config == nil {
		return nil
	}
	reserved := f.reserved()
	taken := func(port int64) bool {
		return port >= low && port <= high &&
			!slices.ContainsFunc(reserved, func(r [2]int64) bool { return port >= r[0] && port <= r[1] })
	}
	var ports, texts []string
	for i := range f.Config.Listeners {
		l := &f.Config.Listeners[i]
		for _, b := range l.Binds {
			first := int64(b.Port)
			last := max(first, int64(b.Last))
			if b.IsUnix() || first == 0 || !taken(first) && !taken(last) {
				continue
			}
			ports, texts = append(ports, portRange(first, last)), append(texts, "listener "+l.Name+" ("+b.String()+")")
		}
	}
	for _, b := range localBackends(f.Config) {
		if taken(int64(b.Port)) {
			ports, texts = append(ports, portRange(int64(b.Port), int64(b.Port))), append(texts, "backend "+b.String())
		}
	}
	if ports == nil {
		return fine("none is in the range of source ports, %d to %d", low, high)
	}
	if old := f.text(sysctlFile("net.ipv4.ip_local_reserved_ports")); old != "" {
		ports = append(strings.Split(old, ","), ports...)
	}
	slices.Sort(ports)
	return []Finding{{
		Level: Warning, Found: fmt.Sprintf("in the range of source ports, %d to %d: %s", low, high, shortList(texts)),
		Why: "An outgoing connection may hold the port while the server is down, which then cannot start.",
		Do:  setSysctl("net.ipv4.ip_local_reserved_ports", strings.Join(slices.Compact(ports), ",")),
	}}
}

func portRange(first, last int64) string {
	if first == last {
		return strconv.FormatInt(first, 10)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// localBackends are those with a loopback address.
func localBackends(cfg *config.Config) (found []config.Address) {
	for i := range cfg.Pools {
		for _, b := range cfg.Pools[i].Backends {
			if !b.Down && b.Address.IP.IsLoopback() && !slices.Contains(found, b.Address) {
				found = append(found, b.Address)
			}
		}
	}
	return found
}

// shortList names the first of many.
func shortList(texts []string) string {
	const most = 4
	if len(texts) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(texts[:most], ", "), len(texts)-most)
	}
	return strings.Join(texts, ", ")
}

func timeWait(f *Facts) []Finding {
	words := strings.Fields(field(f.text(f.process()+"/net/sockstat"), "TCP:"))
	i := slices.Index(words, "tw")
	if i < 0 || i+1 == len(words) {
		return nil
	}
	waiting, err := strconv.ParseInt(words[i+1], 10, 64)
	if err != nil {
		return nil
	}
	buckets, ok := f.sysctl("net.ipv4.tcp_max_tw_buckets")
	reuse, known := f.sysctl("net.ipv4.tcp_tw_reuse")
	_, _, free, ports := f.sourceRange()
	switch dropped := f.netstat()["TCPTimeWaitOverflow"]; {
	case ok && (waiting > buckets/10*9 || dropped > 0):
		return []Finding{{
			Level: Warning, Found: fmt.Sprintf("%d sockets are in TIME_WAIT, at most %d are allowed (net.ipv4.tcp_max_tw_buckets), %d were dropped", waiting, buckets, dropped),
			Why: "Without TIME_WAIT, late packets of an old connection can hit a new one, and its client is reset.",
			Do:  setSysctl("net.ipv4.tcp_max_tw_buckets", 4*buckets),
		}}
	case ports && known && reuse != 1 && waiting > free/2:
		return []Finding{{
			Level: Warning, Found: fmt.Sprintf("%d sockets are in TIME_WAIT, with %d source ports (net.ipv4.tcp_tw_reuse is %d)", waiting, free, reuse),
			Why: "Each holds a source port for a minute; without free ports, dials fail with the reason local_ports.",
			Do:  setSysctl("net.ipv4.tcp_tw_reuse", 1),
		}}
	}
	return fine("%d sockets", waiting)
}

// binds are the IP addresses of listeners that have a property.
func binds(cfg *config.Config, is func(netip.Addr) bool) (found []string) {
	for i := range cfg.Listeners {
		for _, b := range cfg.Listeners[i].Binds {
			if !b.IsUnix() && b.Host == "" && is(b.IP) {
				found = append(found, fmt.Sprintf("listener %s (%s)", cfg.Listeners[i].Name, b.String()))
			}
		}
	}
	return found
}
