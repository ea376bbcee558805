package control

import (
	"l4proxy/config"
	"l4proxy/health"
)

// buildChecks makes the health checks of a pool, still without targets. header is what each sends
// first, if anything.
func buildChecks(h *config.Health, header []byte) *health.Group {
	return &health.Group{
		Options: health.Options{
			Interval:     h.Interval,
			FastInterval: h.FastInterval,
			Timeout:      h.Timeout,
			Jitter:       float64(h.Jitter) / 100,
			Rise:         h.Rise,
			Fall:         h.Fall,
		},
		Checker: checkers[h.Type](h, header),
	}
}

// checkers make the checks, by their types.
var checkers = map[config.HealthType]func(h *config.Health, header []byte) health.Checker{
	// The application never sees a TCP check, so there is nothing to send.
	config.HealthTCP: func(*config.Health, []byte) health.Checker { return health.NewTCP() },
	config.HealthTLS: func(h *config.Health, header []byte) health.Checker {
		return health.After(header, health.NewTLS(tlsOptions(h)))
	},
	config.HealthHTTP: func(h *config.Health, header []byte) health.Checker {
		return health.After(header, health.NewHTTP(httpOptions(h)))
	},
	config.HealthExpect: func(h *config.Health, header []byte) health.Checker {
		return health.After(header, health.NewExpect(script(h)))
	},
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
