package balancer

import "math/rand/v2"

// lottery is what the policies that draw by weight have in common.
type lottery struct {
	members *members
	rand    *rand.Rand
	weights tally
}

func newLottery(m *members, o chooserOptions) lottery {
	return lottery{
		members: m,
		rand:    rand.New(rand.NewPCG(o.Seed, 0)),
		weights: newTally(len(m.backends)),
	}
}

// succeed continues the numbers of old. From the seed again, each Update would be followed by the
// same draws.
func (l *lottery) succeed(old chooser, _ []int) {
	if o, ok := old.(interface{ source() *rand.Rand }); ok {
		l.rand = o.source()
	}
}

func (l *lottery) source() *rand.Rand { return l.rand }

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
