// Package chart draws the pictures of the benchmark report as SVG, with
// gonum.org/v1/plot: lines over a load, a percentile or time, and bars.
//
// Equal data give equal bytes, so a picture that changed in a diff is a figure
// that changed. A picture has a card of its own as background, colours for light
// and dark pages, and a description in words. It refers to nothing outside
// itself and needs no script, as pictures in a README must.
package chart

import (
	"errors"
	"fmt"
	"math"
	"strconv"
)

// Picture is a chart with its data: Lines or Bars.
type Picture interface {
	// SVG returns the picture, or an error that names the series and point that
	// cannot be drawn.
	SVG() ([]byte, error)
}

// Scale is how an axis lays out its values.
type Scale int

const (
	Linear Scale = iota // values on a Y axis begin at 0
	Log                 // on an X axis, 0 has a tick of its own at the left
	// Percentile is for X axes: each further nine takes the same length, so that
	// the tail is visible. 100 is the maximum, behind an interruption at the right.
	Percentile
)

// Axis describes an axis.
type Axis struct {
	Label string // what is shown, "CPU per request"
	Unit  string // "µs"; empty for counts
	Scale Scale
}

// title is the axis's caption.
func (a Axis) title() string {
	switch {
	case a.Unit != "" && a.Scale == Log:
		return fmt.Sprintf("%s (%s, log scale)", a.Label, a.Unit)
	case a.Unit != "":
		return fmt.Sprintf("%s (%s)", a.Label, a.Unit)
	case a.Scale == Log:
		return a.Label + " (log scale)"
	}
	return a.Label
}

// Series is one peer's line. The peer's name determines colour, dashes and glyph.
type Series struct {
	Peer   string
	Points []Point // X strictly increasing
}

// Point is one figure with the interval of its samples. If Low and High are both 0 there is
// no interval; otherwise Low <= Y <= High.
type Point struct {
	X, Y      float64
	Low, High float64
}

func (p Point) hasInterval() bool { return p.Low != 0 || p.High != 0 }

// check returns an error for series that cannot be drawn over x and y.
func check(all []Series, x, y Axis) error {
	if len(all) == 0 {
		return errors.New("no series")
	}
	for _, s := range all {
		if len(s.Points) == 0 {
			return fmt.Errorf("series %q: no points", s.Peer)
		}
		for i, p := range s.Points {
			err := checkPoint(p, x, y)
			if err == nil && i > 0 && p.X <= s.Points[i-1].X {
				err = fmt.Errorf("x is %v after %v", p.X, s.Points[i-1].X)
			}
			if err != nil {
				return fmt.Errorf("series %q: point %d: %w", s.Peer, i, err)
			}
		}
	}
	return nil
}

func checkPoint(p Point, x, y Axis) error {
	low := p.Y
	if p.hasInterval() {
		low = p.Low
	}
	switch {
	case !finite(p.X, p.Y, p.Low, p.High):
		return fmt.Errorf("%+v is not finite", p)
	case p.hasInterval() && (p.Low > p.Y || p.Y > p.High):
		return fmt.Errorf("%v is outside its interval %v to %v", p.Y, p.Low, p.High)
	case x.Scale == Log && p.X < 0, y.Scale == Log && low <= 0:
		return fmt.Errorf("%+v on a logarithmic axis", p)
	case x.Scale == Percentile && (p.X < 0 || p.X > 100):
		return fmt.Errorf("no percentile %v", p.X)
	}
	return nil
}

func finite(all ...float64) bool {
	for _, v := range all {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}

// figure formats v to three significant digits, "0.72", "16.5", "91.2k".
func figure(v float64) string {
	v = rounded(v, 3)
	for _, suffix := range []struct {
		unit float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= suffix.unit {
			return strconv.FormatFloat(rounded(v/suffix.unit, 3), 'f', -1, 64) + suffix.name
		}
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// rounded returns v to that number of significant digits.
func rounded(v float64, digits int) float64 {
	// What FormatFloat writes can be parsed.
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', digits, 64), 64)
	return v
}
