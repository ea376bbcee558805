package admin

import (
	"net/http"
	"time"

	"l4proxy/admin/web"
)

// pages are the requests for the dashboard. They are open: the files are the same everywhere, and
// the API refuses what the page may not see.
var pages = []route{
	{method: "GET", pattern: "/{$}", open: true, stream: (*Server).page},
	{method: "GET", pattern: "/assets/", open: true, stream: (*Server).page},
}

var dashboard = web.New()

func (s *Server) page(c *call) error {
	if !dashboard.Has(c.r.URL.Path) {
		return NotFound("no such file: "+shorten(c.r.URL.Path), "reload the page: it may be of another version")
	}
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(c.patience))
	dashboard.ServeHTTP(c.w, c.r)
	return nil
}
