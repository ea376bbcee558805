package client

import (
	"context"
	"net/http"

	"l4proxy/admin"
)

// Stats asks for the counts that rates come from.
func (c *Client) Stats(ctx context.Context) (*admin.Stats, error) {
	return do[admin.Stats](ctx, c, http.MethodGet, "/api/v1/stats", nil)
}
