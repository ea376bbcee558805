package balancer

import "math/rand/v2"

// random chooses by chance, each backend as often as its weight says.
type random struct {
	members *members
	rand    *rand.Rand
	weights tally
}

func newRandom(m *members, o chooserOptions) chooser {
	return &random{
		members: m,
		rand:    rand.New(rand.NewPCG(o.Seed, 0)),
		weights: newTally(len(m.backends)),
	}
}

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

func (c *random) picked(int) {}

func (c *random) add(i int) { c.weights.set(i, c.members.weights[i]) }

func (c *random) remove(i int) { c.weights.set(i, 0) }
