package admin

import (
	"net/http"
	"slices"
	"time"
)

func (s *Server) metrics(c *call) error {
	if s.scrape == nil {
		return Unavailable("serve metrics")
	}
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(c.patience))
	s.scrape.ServeHTTP(c.w, c.r)
	return nil
}

func (s *Server) listeners(*call) (any, error) { return s.view.Status().Listeners, nil }

func (s *Server) pools(*call) (any, error) { return s.view.Status().Pools, nil }

func (s *Server) oneListener(c *call) (any, error) {
	name := c.r.PathValue("listener")
	all := s.view.Status().Listeners
	i := slices.IndexFunc(all, func(l ListenerStatus) bool { return l.Name == name })
	if i < 0 {
		return nil, NotFound("unknown listener "+shorten(name), "see /api/v1/listeners")
	}
	return all[i], nil
}

func (s *Server) onePool(c *call) (any, error) {
	name := c.r.PathValue("pool")
	all := s.view.Status().Pools
	i := slices.IndexFunc(all, func(p PoolStatus) bool { return p.Name == name })
	if i < 0 {
		return nil, NotFound("unknown pool "+shorten(name), "see /api/v1/pools")
	}
	return all[i], nil
}

func (s *Server) stats(c *call) (any, error) {
	if s.queries.Stats == nil {
		return nil, Unavailable("report its counts")
	}
	return s.queries.Stats(c.ctx)
}

func (s *Server) connections(c *call) (any, error) {
	var query ConnectionQuery
	if err := c.decode(&query); err != nil {
		return nil, err
	}
	if err := query.check(); err != nil {
		return nil, err
	}
	if s.queries.Connections == nil {
		return nil, Unavailable("list connections")
	}
	return s.queries.Connections(c.ctx, query)
}

func (s *Server) kill(c *call) (any, error) {
	var request KillRequest
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	if err := request.check(); err != nil {
		return nil, err
	}
	if s.commands.Kill == nil {
		return nil, Unavailable("end connections")
	}
	return s.commands.Kill(c.ctx, request)
}

func (s *Server) explain(c *call) (any, error) {
	var query ExplainQuery
	if err := c.decode(&query); err != nil {
		return nil, err
	}
	if s.queries.Explain == nil {
		return nil, Unavailable("explain")
	}
	return s.queries.Explain(c.ctx, query)
}

func (s *Server) config(c *call) (any, error) {
	if s.queries.Config == nil {
		return nil, Unavailable("show its configuration")
	}
	return s.queries.Config(c.ctx)
}

func (s *Server) debug(c *call) (any, error) {
	if s.queries.Debug == nil {
		return nil, Unavailable("trace connections")
	}
	return s.queries.Debug(c.ctx)
}

func (s *Server) setDebug(c *call) (any, error) {
	var request DebugRequest
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	if s.commands.Debug == nil {
		return nil, Unavailable("trace connections")
	}
	return s.commands.Debug(c.ctx, request)
}

// noDemo is the answer outside a demo.
func noDemo() error { return NotFound("this is no demo", "l4proxy demo has backends to play with") }

func (s *Server) demo(c *call) (any, error) {
	if s.queries.Demo == nil {
		return nil, noDemo()
	}
	return s.queries.Demo(c.ctx)
}

func (s *Server) fault(c *call) (any, error) {
	var request FaultRequest
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	if s.commands.Fault == nil {
		return nil, noDemo()
	}
	return s.commands.Fault(c.ctx, c.r.PathValue("backend"), request)
}
