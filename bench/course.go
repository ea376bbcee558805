package main

import (
	"math"

	"l4proxy/bench/chart"
)

// course is how many clients failed or were slow over time, by when they came, in
// seconds after a fault.
type course struct {
	From  float64 `json:"from"`
	Until float64 `json:"until"`
	// Bad are the parts of a second in which such clients came, in order.
	Bad []badPart `json:"bad,omitempty"`
}

// badPart is one part of a second; a second has [partsASecond] of them.
type badPart struct {
	// Part counts from the fault; before it, Part is negative.
	Part   int `json:"part"`
	Failed int `json:"failed,omitempty"`
	Slow   int `json:"slow,omitempty"`
}

const partsASecond = 10

func partOf(seconds float64) int { return int(math.Floor(seconds * partsASecond)) }

// add counts a client that failed, or else was slow. Clients must be added in the
// order in which they came.
func (c *course) add(seconds float64, failed bool) {
	part := partOf(seconds)
	if n := len(c.Bad); n == 0 || c.Bad[n-1].Part != part {
		c.Bad = append(c.Bad, badPart{Part: part})
	}
	last := &c.Bad[len(c.Bad)-1]
	if failed {
		last.Failed++
	} else {
		last.Slow++
	}
}

// points returns the two curves of c: failed and slow clients in each part of a
// second.
func (c *course) points() (failed, slow []chart.Point) {
	bad := c.Bad
	for part := partOf(c.From); float64(part) < c.Until*partsASecond; part++ {
		var n badPart
		if len(bad) > 0 && bad[0].Part == part {
			n, bad = bad[0], bad[1:]
		}
		at := float64(part) / partsASecond
		failed = append(failed, chart.Point{X: at, Y: float64(n.Failed)})
		slow = append(slow, chart.Point{X: at, Y: float64(n.Slow)})
	}
	return failed, slow
}
