package balancer

import "math/rand/v2"

// lottery is what the policies that draw by weight have in common.
type lottery struct {
	members *members
	pcg     *rand.PCG
	rand    *rand.Rand // over pcg
	weights tally
}

func newLottery(m *members, o chooserOptions) lottery {
	pcg := rand.NewPCG(o.Seed, 0)
	return lottery{members: m, pcg: pcg, rand: rand.New(pcg), weights: newTally(len(m.backends))}
}

// clone draws the same numbers as l would, and takes none of them from it.
func (l *lottery) clone(m *members) lottery {
	pcg := *l.pcg
	return lottery{members: m, pcg: &pcg, rand: rand.New(&pcg), weights: l.weights.clone()}
}

// succeed continues the numbers of old. From the seed again, each Update would be followed by the
// same draws.
func (l *lottery) succeed(old chooser, _ []int) {
	if o, ok := old.(interface{ source() *rand.PCG }); ok {
		l.pcg = o.source()
		l.rand = rand.New(l.pcg)
	}
}

func (l *lottery) source() *rand.PCG { return l.pcg }

func (l *lottery) picked(int) {}

func (l *lottery) add(i int) { l.weights.set(i, l.members.weights[i]) }

func (l *lottery) remove(i int) { l.weights.set(i, 0) }

// random chooses at random, each backend as often as its weight says.
type random struct{ lottery }

func newRandom(m *members, o chooserOptions) chooser { return &random{newLottery(m, o)} }

func (c *random) next(r request) int {
	if len(r.tried) == 0 {
		return c.draw()
	}
	c.weights.hold(r.tried)
	drawn := c.draw()
	c.weights.putBack()
	return drawn
}

// draw returns one of the available, or -1 if there is none.
func (c *random) draw() int {
	if c.weights.total == 0 {
		return -1
	}
	i, _ := c.weights.at(c.rand.Uint64N(c.weights.total))
	return i
}

func (c *random) clone(m *members) chooser { return &random{c.lottery.clone(m)} }
