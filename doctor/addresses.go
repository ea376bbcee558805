package doctor

import (
	"fmt"
	"net/netip"
	"strings"
)

func lowPorts(f *Facts) []Finding {
	start, ok := f.sysctl("net.ipv4.ip_unprivileged_port_start")
	if !ok || f.Config == nil {
		return nil
	}
	var low []string
	lowest := start
	for i := range f.Config.Listeners {
		for _, b := range f.Config.Listeners[i].Binds {
			if port := int64(b.Port); !b.IsUnix() && port > 0 && port < start {
				low = append(low, fmt.Sprintf("%s (%s)", f.Config.Listeners[i].Name, b.String()))
				lowest = min(lowest, port)
			}
		}
	}
	if low == nil {
		return fine("all ports are %d or above", start)
	}
	if f.capable(capNetBindService) {
		return fine("allowed")
	}
	who := "this user"
	if f.PID != 0 {
		who = fmt.Sprintf("process %d", f.PID)
	}
	return []Finding{{
		Level: Problem, Found: fmt.Sprintf("%s may not listen on ports below %d: listener %s", who, start, shortList(low)),
		Why: "Opening the address fails at a start or a reload, unless systemd passes the socket.",
		Do: "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, or setcap cap_net_bind_service=+ep on the binary\nor " +
			setSysctl("net.ipv4.ip_unprivileged_port_start", lowest),
	}}
}

func ipv6(f *Facts) []Finding {
	if f.Config == nil {
		return nil
	}
	wanted := binds(f.Config, netip.Addr.Is6)
	for i := range f.Config.Pools {
		for _, b := range f.Config.Pools[i].Backends {
			if b.Address.IP.Is6() && !b.Down {
				wanted = append(wanted, "backend "+b.Address.String())
			}
		}
	}
	if wanted == nil {
		return nil
	}
	disabled, _ := f.sysctl("net.ipv6.conf.all.disable_ipv6")
	if f.text(f.process()+"/net/if_inet6") != "" && disabled == 0 {
		return fine("available")
	}
	return []Finding{{
		Level: Problem, Found: "no network interface has an IPv6 address, and the configuration has: " + shortList(wanted),
		Why: "The addresses cannot be opened or reached.",
		Do:  setSysctl("net.ipv6.conf.all.disable_ipv6", 0) + "\nor write 0.0.0.0 or an IPv4 address instead",
	}}
}

func nameServers(f *Facts) []Finding {
	if f.Config == nil || !hasNames(f) {
		return nil
	}
	var servers []netip.Addr
	for line := range strings.Lines(f.text("etc/resolv.conf")) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "nameserver" {
			if ip, err := netip.ParseAddr(words[1]); err == nil {
				servers = append(servers, ip)
			}
		}
	}
	if servers == nil {
		return []Finding{{
			Level: Warning, Found: "/etc/resolv.conf names no name server",
			Why: "Only names in /etc/hosts resolve, and the server at 127.0.0.1 is asked for all others.",
			Do:  "add a line such as nameserver 10.0.0.2",
		}}
	}
	var found []Finding
	for _, ip := range servers {
		if err := f.AskNameServer(ip); err != nil {
			found = append(found, Finding{
				Level: Warning, Found: fmt.Sprintf("the name server %s does not answer: %v", ip, err),
				Why: "A look-up waits for it for seconds before the next server is asked.",
				Do:  "repair it, or remove it from /etc/resolv.conf",
			})
		}
	}
	if found != nil {
		return found
	}
	return fine("%d of %d answer", len(servers), len(servers))
}

// hasNames reports whether the configuration has host names.
func hasNames(f *Facts) bool {
	for i := range f.Config.Pools {
		for _, b := range f.Config.Pools[i].Backends {
			if b.Address.Host != "" && !b.Down {
				return true
			}
		}
	}
	for i := range f.Config.Listeners {
		for _, b := range f.Config.Listeners[i].Binds {
			if b.Host != "" {
				return true
			}
		}
	}
	return false
}
