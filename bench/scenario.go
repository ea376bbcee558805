package main

import (
	"context"
	"maps"
	"slices"
)

// scenario is one kind of work that all peers do.
type scenario struct {
	about   string
	metrics []metric
	// proxied is set where there is nothing to measure without a proxy.
	proxied bool
	// origin starts the server behind the proxies.
	origin func(setup) (*process, error)
	// run puts the load on and measures. It ends by itself.
	run func(context.Context, bench) (figures, error)
}

// figures are what one measurement found, by the metric's name. A metric may be
// missing: there is no proxy's CPU without a proxy.
type figures map[string]float64

// metric is a column of a scenario's table.
type metric struct {
	name   string
	higher bool // better
	digits int  // after the point
	// uncompared is set where a ratio to the rivals would mislead.
	uncompared bool
}

// scenarios are all there are.
var scenarios = map[string]scenario{
	"reqresp":      reqresp(64),
	"reqresp-8":    reqresp(8),
	"reqresp-512":  reqresp(512),
	"reqresp-2000": reqresp(2000),
	"conns":        conns(),
	"bulk":         bulk(1),
	"bulk-8":       bulk(8),
	"idle":         idle(4000),
}

func scenarioNames() []string { return slices.Sorted(maps.Keys(scenarios)) }
