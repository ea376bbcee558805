package control

import (
	"context"
	"errors"
	"fmt"

	"l4proxy/config"
	"l4proxy/listen"
)

// AdminPlan is the admin address.
type AdminPlan struct {
	Bind listen.Bind
	// Access is nil for a TCP address.
	Access *listen.Access
	Token  config.Secret
	// Loopback says that only this machine can reach it. Host is the host name in the
	// configuration, if there is one.
	Loopback bool
	Host     string
}

// adminMode is the mode of an admin socket for which none is configured. Connecting to it is enough
// to change everything, so only the user of the process may.
const adminMode = 0o600

// PlanAdmin is the part of a plan that is about the admin address.
func PlanAdmin(ctx context.Context, cfg *config.Config, lookup Lookup) (*AdminPlan, error) {
	if cfg.Admin == nil {
		return nil, nil
	}
	only := &config.Config{File: cfg.File, Source: cfg.Source, Admin: cfg.Admin, User: cfg.User, Group: cfg.Group}
	return buildAdmin(only, Gather(ctx, only, lookup))
}

func buildAdmin(cfg *config.Config, facts *Facts) (*AdminPlan, error) {
	a := cfg.Admin
	if a == nil {
		return nil, nil
	}
	place := cfg.Where(config.Path("admin", "bind"))
	plan := &AdminPlan{Token: a.Token, Loopback: a.Bind.IsLoopback(), Host: a.Bind.Host}
	var failed, err error
	if plan.Bind, err = buildBind(a.Bind, facts); err != nil {
		failed = at(place, fmt.Errorf("admin address %s: %w", a.Bind, err))
	}
	plan.Bind.Place = place.String()
	if !a.Bind.IsUnix() {
		return plan, failed
	}
	socket := a.Socket
	if socket.Mode == 0 {
		socket.Mode = adminMode
	}
	if plan.Access, err = facts.access(&socket); err != nil {
		failed = errors.Join(failed, at(cfg.Where(config.Path("admin", "owner")), fmt.Errorf("admin address: %w", err)))
	}
	return plan, failed
}
