package control

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"l4proxy/config"
	"l4proxy/health"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/sockopt"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// need is an option that not every kernel has, or not for every process.
type need struct{ what, name string }

// A needed option is asked for by a listener or a pool.
type needed struct {
	need
	by   string // "listener web"
	path string // of the key
}

// tries find out whether a socket can have an option here. The error says what to do.
var tries = map[string]func(name string) error{
	"congestion":  sockopt.CheckCongestion,
	"interface":   sockopt.CheckInterface,
	"transparent": func(string) error { return sockopt.CheckTransparent() },
	"mark":        func(string) error { return sockopt.CheckMark() },
	"mptcp":       func(string) error { return sockopt.CheckMultipath() },
	"fast_open":   func(string) error { return sockopt.CheckFastOpen() },
}

// needs lists the options that a configuration asks for and that may be missing.
func needs(cfg *config.Config) (all []needed) {
	add := func(by, what, name, path string) { all = append(all, needed{need{what, name}, by, path}) }
	tcp := func(by string, t *config.TCP, section, name string) {
		if t == nil {
			return
		}
		at := func(key string) string { return config.Path(section, name, "tcp", key) }
		if t.Congestion != "" {
			add(by, "congestion", t.Congestion, at("congestion"))
		}
		if t.FastOpen {
			add(by, "fast_open", "", at("fast_open"))
		}
		if t.MPTCP {
			add(by, "mptcp", "", at("mptcp"))
		}
		if t.Mark != 0 {
			add(by, "mark", "", at("mark"))
		}
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		by := "listener " + l.Name
		tcp(by, l.TCP, "listeners", l.Name)
		for k, b := range l.Binds {
			if b.Transparent {
				add(by, "transparent", "", config.Path("listeners", l.Name, "bind", k, "transparent"))
			}
			if b.Interface != "" {
				add(by, "interface", b.Interface, config.Path("listeners", l.Name, "bind", k, "interface"))
			}
		}
	}
	for i := range cfg.Pools {
		p := &cfg.Pools[i]
		tcp("pool "+p.Name, p.TCP, "pools", p.Name)
		if p.SourceAddress.Client {
			add("pool "+p.Name, "transparent", "", config.Path("pools", p.Name, "source"))
		}
	}
	return all
}

// trySockets tries all options that the configuration asks for, each once.
func (f *Facts) trySockets(cfg *config.Config) {
	for _, n := range needs(cfg) {
		if _, known := f.sockets[n.need]; !known {
			f.sockets[n.need] = tries[n.what](n.name)
		}
	}
}

// checkSockets has a line for each option that is missing.
func (f *Facts) checkSockets(cfg *config.Config) error {
	var failed []error
	for _, n := range needs(cfg) {
		if err := f.sockets[n.need]; err != nil {
			failed = append(failed, at(cfg.Where(n.path), fmt.Errorf("%s: %w", n.by, err)))
		}
	}
	return errors.Join(failed...)
}

// NetAdmin lists what needs CAP_NET_ADMIN while the proxy runs, as in "listener web: transparent":
// each dial that comes from the client's address or has a mark needs it, and so does a reload that
// opens a transparent listening socket.
func NetAdmin(cfg *config.Config) (features []string) {
	for _, n := range needs(cfg) {
		if n.what == "transparent" || n.what == "mark" {
			features = append(features, n.by+": "+n.what)
		}
	}
	return features
}

// buildTCP makes the options of TCP sockets.
func buildTCP(t *config.TCP) sockopt.TCP {
	if t == nil {
		return sockopt.TCP{}
	}
	return sockopt.TCP{
		KeepAlive:    buildKeepAlive(t),
		Congestion:   t.Congestion,
		FastOpen:     t.FastOpen,
		Multipath:    t.MPTCP,
		NotSentLowat: t.NotSentLowat,
		Nagle:        !t.NoDelay,
		Mark:         t.Mark,
		TOS:          t.TOS,
	}
}

// buildKeepAlive is the zero value if nothing is configured. A socket of MPTCP has no
// TCP_USER_TIMEOUT, so it needs a number of probes.
func buildKeepAlive(t *config.TCP) sockopt.KeepAlive {
	if t.KeepAlive == nil && t.UserTimeout == 0 && !t.MPTCP {
		return sockopt.KeepAlive{}
	}
	k := t.KeepAlive
	if k == nil {
		k = new(config.KeepAlive)
		config.SetDefaults(k)
	}
	return sockopt.KeepAlive{
		Idle:     k.Idle,
		Interval: k.Interval,
		Count:    k.Count,
		Timeout:  cmp.Or(t.UserTimeout, k.Idle+k.Interval*time.Duration(k.Count)),
	}
}

// buildOptions are the options of the sockets of a bind. A unix socket has only a backlog.
func buildOptions(b config.Bind, tcp sockopt.TCP) listen.Options {
	o := listen.Options{Backlog: b.Backlog}
	if b.IsUnix() {
		return o
	}
	o.Transparent, o.Interface, o.TCP = b.Transparent, b.Interface, tcp
	o.V6Only = map[config.V6Only]listen.V6Only{config.V6Yes: listen.V6Yes, config.V6No: listen.V6No}[b.V6Only]
	return o
}

// buildOrigin is nil if the kernel decides about everything.
func buildOrigin(p *config.Pool) *proxy.Origin {
	if p.TCP == nil && !p.SourceAddress.Client && p.SourceAddress.Addresses == nil {
		return nil
	}
	o := &proxy.Origin{TCP: buildTCP(p.TCP), Client: p.SourceAddress.Client}
	for _, ip := range p.SourceAddress.Addresses {
		from := rawsys.InetSockaddr(netip.AddrPortFrom(ip, 0), 0)
		if ip.Is4() {
			o.IPv4 = append(o.IPv4, from)
		} else {
			o.IPv6 = append(o.IPv6, from)
		}
	}
	return o
}

// checksFrom is where the checks of a pool come from. They do not come from a client.
func checksFrom(p *config.Pool) health.Origin {
	o := health.Origin{Addresses: p.SourceAddress.Addresses}
	if p.TCP != nil {
		o.Mark = p.TCP.Mark
	}
	return o
}
