package main

import (
	"l4proxy/admin"
	"l4proxy/config"
)

// configuredStatus is what a configuration says of the proxy that does not run: names, without
// states. It is nil if there is no configuration, or one with problems.
func configuredStatus(file string, env func(string) (string, bool)) *admin.Status {
	cfg, err := config.Load(configFile(file, env), env)
	if err != nil {
		return nil
	}
	s := new(admin.Status)
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		shown := admin.ListenerStatus{Name: l.Name, Pool: l.Pool}
		for k := range l.Routes {
			shown.Routes = append(shown.Routes, admin.RouteStatus{Pool: l.Routes[k].Pool})
		}
		for _, b := range l.Binds {
			shown.Addresses = append(shown.Addresses, b.String())
		}
		s.Listeners = append(s.Listeners, shown)
	}
	for i := range cfg.Pools {
		p := &cfg.Pools[i]
		shown := admin.PoolStatus{Name: p.Name}
		for j := range p.Backends {
			shown.Backends = append(shown.Backends, admin.BackendStatus{Address: p.Backends[j].Address.String()})
		}
		s.Pools = append(s.Pools, shown)
	}
	return s
}
