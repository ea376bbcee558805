package admin

import "context"

// Queries are what the API can be asked beside the [View]. One that is nil is answered with 501, or
// with 404 if it is about a demo. An error that is an [*Error] says with which status.
type Queries struct {
	Connections func(context.Context, ConnectionQuery) (*ConnectionPage, error)
	// Stats are the counts at this moment, of all listeners and pools.
	Stats   func(context.Context) (*Stats, error)
	Explain func(context.Context, ExplainQuery) (*Explain, error)
	Config  func(context.Context) (*RunningConfig, error)
	Bans    func(context.Context, BanQuery) (*BanPage, error)
	Debug   func(context.Context) (*Debug, error)
	Demo    func(context.Context) ([]DemoBackend, error)
}
