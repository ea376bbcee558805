package control

import (
	"flag"
	"testing"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "the one seed for the simulation to run, with a trace; 0 runs many without")
	simCount = flag.Uint64("sim.seeds", simSeeds, "how many seeds the simulation runs")
)

// simEnough seeds let everything happen at least once.
const simEnough = 1000

// TestSimulation leads pools through all kinds of trouble: backends fail in all the ways there are,
// checks find out or do not, clients come and go, wait and give up. Half of the pools are updated
// under way. Each seed is another pool. After each event, all the rules of sim_rules_test.go must
// hold. Nothing runs beside it and no clock is read, so that a seed gives the same each time.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		story, violation := simulate(*simSeed, make(map[string]int), true)
		t.Logf("seed %d:\n%s", *simSeed, story)
		if violation != nil {
			t.Error(violation)
		}
		return
	}
	count := *simCount
	if testing.Short() {
		count = min(count, simSeeds/5)
	}
	tally := make(map[string]int)
	for seed := uint64(1); seed <= count; seed++ {
		if _, violation := simulate(seed, tally, false); violation != nil {
			t.Fatalf("seed %d (for what led to it: go test ./control -run TestSimulation -sim.seed=%d -v)\n%v",
				seed, seed, violation)
		}
	}
	for _, what := range simHappenings {
		if tally[what] == 0 && count >= simEnough {
			t.Errorf("in %d seeds, this never happened: %s", count, what)
		}
	}
}

// TestSimulationRepeats holds what a replay depends on.
func TestSimulationRepeats(t *testing.T) {
	first, _ := simulate(1, make(map[string]int), true)
	second, _ := simulate(1, make(map[string]int), true)
	if first != second {
		t.Errorf("the same seed gave\n%s\n\nand\n%s", first, second)
	}
}
