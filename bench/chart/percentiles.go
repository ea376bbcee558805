package chart

import (
	"fmt"
	"strconv"
)

// Percentiles is a chart of a latency's distribution, as HdrHistogram plots it:
// each further nine of the percentile takes the same length, so that the tail
// can be seen. A point's X is a percentile from 0 to 99.99999, or 100 for the
// maximum, which stands apart at the right; its Y is that percentile's latency
// and never falls. Spread is drawn as a band.
type Percentiles struct {
	Title, Subtitle string
	Y               Axis
	Series          []Series
}

// SVG returns the picture.
func (p Percentiles) SVG() ([]byte, error) {
	if err := checkHead(p.Title, p.Y); err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("chart: %q: %w", p.Title, err)
	}
	d, hasMax := noSpan, false
	for _, s := range p.Series {
		for _, point := range s.Points {
			if point.X == maximum {
				hasMax = true
				continue
			}
			d.add(point.X)
		}
	}
	c := curves{title: p.Title, subtitle: p.Subtitle, xTitle: "Percentile", y: p.Y, series: p.Series, spread: band}
	c.x = func(from, to float64) scale { return percentiles(d, hasMax, from, to, beside(24)) }
	f := c.draw()
	return f.finish(fmt.Sprintf("Lines of %s over its percentiles.", p.Y.title()) +
		describe(p.Series, percent, p.Y.Unit)), nil
}

func (p Percentiles) check() error {
	if err := checkSeries(p.Series, Axis{}, p.Y); err != nil {
		return err
	}
	for _, s := range p.Series {
		for i, point := range s.Points {
			if point.X < 0 || point.X > lastNine && point.X != maximum {
				return fmt.Errorf("series %q: point %d: no percentile %v", s.Peer, i, point.X)
			}
			if i > 0 && point.Y < s.Points[i-1].Y {
				return fmt.Errorf("series %q: point %d: percentile %s is below the one before it", s.Peer, i, percent(point.X))
			}
		}
	}
	return nil
}

// percent formats a percentile as its tick does.
func percent(p float64) string {
	if p == maximum {
		return "max"
	}
	return strconv.FormatFloat(p, 'f', -1, 64) + "%"
}
