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
	title string // of its picture, where it has one to itself
	// family and x place the scenario in a picture: members of a family are the
	// points of one curve, at x.
	family string
	x      float64

	metrics []metric
	// proxied is set where there is nothing to measure without a proxy.
	proxied bool
	// size says how many backends and prefixes the peers are configured with,
	// where that is not what they always get.
	size size
	// share, where it is not 0, is the part of the slowest peer's greatest rate
	// at which all are measured. That rate is found before the first round.
	share float64
	// atLeast is how long a measurement has to be to tell anything, whatever
	// the command line says.
	atLeast time.Duration

	// origin starts the server behind the proxies; nil where there is none.
	origin func(bench) (*process, error)
	// run puts the load on and measures. It ends by itself.
	run func(context.Context, bench) (measured, error)
}

// measured is what one measurement found.
type measured struct {
	figures  figures
	timeline samples // where the scenario is about time
	// failures by what happened, and the course of them, where they are what is
	// measured.
	failures map[string]uint64
	course   *course
}

// metric is a column of a scenario's table.
type metric struct {
	name   string
	higher bool // better
	digits int  // after the point
	// uncompared is set where a ratio to the rivals would mislead.
	uncompared bool
	// noisy is set where a figure is told however far the rounds lie apart, and
	// with the whole range of them in place of the median's confidence interval.
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
