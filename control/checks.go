package control

import (
	"math/rand/v2"
	"net/netip"

	"l4proxy/config"
	"l4proxy/health"
)

// checkGroup makes the health checks of one pool.
func checkGroup(h *config.Health, targets []health.Target) health.Group {
	return health.Group{
		Options: health.Options{
			Interval:     h.Interval,
			FastInterval: h.FastInterval,
			Timeout:      h.Timeout,
			Jitter:       float64(h.Jitter) / 100,
			Rise:         h.Rise,
			Fall:         h.Fall,
			Seed:         rand.Uint64(),
		},
		Checker: checkers[h.Type](h),
		Targets: targets,
	}
}

// hostName is the name that checks ask a backend for, "" if it is configured by an IP address or a path.
func hostName(b *config.Backend) string {
	if _, err := netip.ParseAddr(b.Host); err == nil {
		return ""
	}
	return b.Host
}

// checkers make the checks by their types in the configuration.
var checkers = map[string]func(h *config.Health) health.Checker{
	"tcp":    func(*config.Health) health.Checker { return health.NewTCP() },
	"tls":    func(h *config.Health) health.Checker { return health.NewTLS(tlsOptions(h)) },
	"http":   func(h *config.Health) health.Checker { return health.NewHTTP(httpOptions(h)) },
	"expect": func(h *config.Health) health.Checker { return health.NewExpect(script(h)) },
}

func tlsOptions(h *config.Health) health.TLSOptions {
	return health.TLSOptions{ServerName: h.ServerName, Verify: h.Verify}
}

func httpOptions(h *config.Health) health.HTTPOptions {
	o := health.HTTPOptions{Method: h.Method, Path: h.Path, Host: h.Host, Body: h.Body}
	for _, r := range h.Status {
		o.Status = append(o.Status, health.StatusRange{From: r.From, To: r.To})
	}
	if h.TLS {
		secured := tlsOptions(h)
		o.TLS = &secured
	}
	return o
}

func script(h *config.Health) []health.Step {
	steps := make([]health.Step, len(h.Script))
	for i, s := range h.Script {
		steps[i] = health.Step{Send: s.Send, Receive: s.Receive}
	}
	return steps
}
