package admin

import (
	"context"
	"net/http"
	"path"
	"strconv"
	"time"
)

const (
	// aliveTimeout is how long an event loop may take to answer before the process counts as hung.
	aliveTimeout = time.Second
	// commandTimeout bounds a command: a reload that waits for name servers, or an upgrade.
	commandTimeout = 2 * time.Minute
)

// health is the answer of /healthz.
type health struct {
	OK bool `json:"ok"`
}

func (s *Server) healthz(c *call) (any, error) {
	ctx, cancel := context.WithTimeout(c.ctx, aliveTimeout)
	defer cancel()
	if err := s.view.Alive(ctx); err != nil {
		return nil, &Error{http.StatusServiceUnavailable, err.Error(), "send SIGQUIT for the stacks of all goroutines, and restart it"}
	}
	return health{true}, nil
}

// readiness is the answer of /readyz.
type readiness struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

func (s *Server) readyz(c *call) (any, error) {
	reason := s.view.NotReady()
	if reason != "" {
		c.code = http.StatusServiceUnavailable
	}
	return readiness{reason == "", reason}, nil
}

func (s *Server) status(*call) (any, error) {
	status := s.view.Status()
	status.Demo = s.queries.Demo != nil
	return status, nil
}

func (s *Server) reload(c *call) (any, error) {
	var request ReloadRequest
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	switch {
	case s.commands.Reload == nil:
		return nil, Unavailable("reload its configuration")
	case request.Confirm < 0:
		return nil, Invalid("confirm is negative", `write a duration such as "60s"`)
	case request.DryRun && (request.Confirm > 0 || request.Guard != nil):
		return nil, Invalid("a dry run changes nothing, so there is nothing to confirm", "remove dry_run, or confirm and guard")
	}
	return s.commands.Reload(c.ctx, request)
}

// done is the answer of a command that has nothing to report.
type done struct {
	OK bool `json:"ok"`
}

func (s *Server) keep(c *call) (any, error) {
	return s.plain(c, s.commands.Keep, "keep a reload")
}

func (s *Server) rollback(c *call) (any, error) {
	return s.plain(c, s.commands.Rollback, "roll back a reload")
}

// plain runs a command without parameters.
func (s *Server) plain(c *call, command func(context.Context) error, name string) (any, error) {
	if err := c.decode(&struct{}{}); err != nil {
		return nil, err
	}
	if command == nil {
		return nil, Unavailable(name)
	}
	return done{true}, command(c.ctx)
}

func (s *Server) drain(c *call) (any, error) {
	var request DrainRequest
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	if err := request.check(); err != nil {
		return nil, err
	}
	if s.commands.Drain == nil {
		return nil, Unavailable("drain")
	}
	c.code = http.StatusAccepted
	return s.commands.Drain(c.ctx, request)
}

func (s *Server) upgrade(c *call) (any, error) {
	var request UpgradeRequest
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	switch {
	case s.commands.Upgrade == nil:
		return nil, Unavailable("upgrade itself")
	case request.Binary != "" && !path.IsAbs(request.Binary):
		return nil, Invalid("the path of the binary "+strconv.Quote(shorten(request.Binary))+" is not absolute", "write the whole path")
	}
	return s.commands.Upgrade(c.ctx, request)
}

func (s *Server) setBackend(c *call) (any, error) {
	var request BackendChange
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	if err := request.check(); err != nil {
		return nil, err
	}
	if s.commands.SetBackend == nil {
		return nil, Unavailable("change a backend")
	}
	return s.commands.SetBackend(c.ctx, c.r.PathValue("pool"), c.r.PathValue("address"), request)
}
