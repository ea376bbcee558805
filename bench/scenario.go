package main

import (
	"context"
	"slices"
	"time"
)

// scenario is one kind of work that all peers do.
type scenario struct {
	name  string
	about string
	title string // of its picture, if it has one of its own
	// The scenarios of a family are the points of one curve, each at its x.
	family string
	x      float64

	metrics []metric
	// peers, unless it is nil, chooses and changes those that are measured.
	peers func([]peer) []peer
	// proxied is set if there is nothing to measure without a proxy.
	proxied bool
	// size is what the scenario demands of the peers' configuration.
	size size
	// share, unless it is 0, is the part of the slowest peer's highest rate at
	// which all peers are measured. That rate is measured before the first round.
	share float64
	// atLeast is the shortest useful measurement, whatever -duration is.
	atLeast time.Duration

	// origin starts the server behind the proxies, if the scenario has one.
	origin func(bench) (*process, error)
	// run generates the load and measures.
	run func(context.Context, bench) (measured, error)
}

// measured is the result of one measurement.
type measured struct {
	figures  figures
	timeline samples // of sustained
	// failures by what happened, and their course, of outages.
	failures map[string]uint64
	course   *course
}

// metric is a column of a scenario's table.
type metric struct {
	name   string
	higher bool // better
	digits int  // after the point
	// uncompared is set if a ratio to the rivals would mislead.
	uncompared bool
	// noisy is set if a figure is shown however far the rounds are apart, with
	// their whole range in place of the median's confidence interval.
	noisy bool
}

func scenarioNames() []string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

func findScenario(name string) (scenario, bool) {
	all := scenarios()
	i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
	if i < 0 {
		return scenario{}, false
	}
	return all[i], true
}
