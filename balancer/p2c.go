package balancer

// p2c is the power of two choices (Mitzenmacher, 2001): it draws two backends by weight and takes
// the one with the smaller (connections+1)/weight. That comes close to least_conn, and proxies that
// know only their own connections do not all choose the same backend.
type p2c struct{ lottery }

func newP2C(m *members, o chooserOptions) chooser { return &p2c{newLottery(m, o)} }

func (c *p2c) next(r request) int {
	if len(r.tried) == 0 {
		return c.draw()
	}
	c.weights.hold(r.tried)
	drawn := c.draw()
	c.weights.putBack()
	return drawn
}

// draw returns the better of two different ones, if there are two; -1 if there is none. Of two
// equal ones it returns the first, which was drawn by weight.
func (c *p2c) draw() int {
	w := &c.weights
	if w.total == 0 {
		return -1
	}
	i, before := w.at(c.rand.Uint64N(w.total))
	weight := uint64(w.of[i])
	if w.total == weight {
		return i
	}
	// The second is drawn as if the weight of the first were not in the row.
	x := c.rand.Uint64N(w.total - weight)
	if x >= before {
		x += weight
	}
	j, _ := w.at(x)
	if c.load(j) < c.load(i) {
		return j
	}
	return i
}

func (c *p2c) load(i int) uint64 {
	return load(c.members.backends[i].Active(), c.members.weights[i])
}

func (c *p2c) clone(m *members) chooser { return &p2c{c.lottery.clone(m)} }

// score implements scorer.
func (c *p2c) score(i int, unit uint32) float64 { return fraction(c.members, i, unit) }
