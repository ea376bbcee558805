// Package chart draws the pictures of the benchmark report as SVG: lines over a
// load, grouped bars, latency percentiles and timelines.
//
// Equal data give equal bytes, so a picture that changed in a diff is a figure
// that changed. A picture brings its own card, colours for light and dark mode
// (by prefers-color-scheme) and system fonts; it refers to nothing outside
// itself and needs no script, as pictures in a README must.
package chart

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// Picture is a chart with its data: Lines, Bars, Percentiles or Timeline.
type Picture interface {
	// SVG returns the picture, or an error that names the series and point that
	// cannot be drawn: a broken picture is never returned.
	SVG() ([]byte, error)
}

// Write writes p to w, or nothing if it cannot be drawn.
func Write(w io.Writer, p Picture) error {
	picture, err := p.SVG()
	if err != nil {
		return err
	}
	_, err = w.Write(picture)
	return err
}

// Axis says what an axis shows. A linear axis of values begins at 0.
type Axis struct {
	Label string // what is shown, "CPU a request"
	Unit  string // "µs"; empty for counts
	Log   bool   // logarithmic
}

// title is the axis's caption.
func (a Axis) title() string {
	switch {
	case a.Unit != "" && a.Log:
		return fmt.Sprintf("%s (%s, log scale)", a.Label, a.Unit)
	case a.Unit != "":
		return fmt.Sprintf("%s (%s)", a.Label, a.Unit)
	case a.Log:
		return a.Label + " (log scale)"
	}
	return a.Label
}

// Series is one peer's line. The peer's name chooses colour, dash and marker,
// the same ones in all pictures.
type Series struct {
	Peer   string
	Points []Point // X strictly increasing
}

// Point is one figure with the spread of its samples. Low and High both 0 mean
// that there is no spread to show; otherwise Low <= Y <= High.
type Point struct {
	X, Y      float64
	Low, High float64
}

func (p Point) hasSpread() bool { return p.Low != 0 || p.High != 0 }

// low and high are the ends of what is drawn at p.
func (p Point) low() float64 {
	if p.hasSpread() {
		return p.Low
	}
	return p.Y
}

func (p Point) high() float64 {
	if p.hasSpread() {
		return p.High
	}
	return p.Y
}

const (
	// largest is the largest figure drawn: the SI suffixes end a little below,
	// and no measurement of a proxy comes near.
	largest = 1e15
	// smallest is the smallest figure above 0 on a logarithmic axis.
	smallest = 1e-9
)

// checkHead returns an error for a picture that lacks the words without which it
// cannot be read.
func checkHead(title string, axes ...Axis) error {
	if blank(title) {
		return errors.New("chart: no title")
	}
	for _, a := range axes {
		if blank(a.Label) {
			return fmt.Errorf("chart: %q: an axis has no label", title)
		}
	}
	return nil
}

// checkSeries returns an error for series that cannot be drawn over x and y.
func checkSeries(all []Series, x, y Axis) error {
	if len(all) == 0 {
		return errors.New("no series")
	}
	seen := make(map[string]bool)
	for _, s := range all {
		if err := checkPeer(s.Peer, seen); err != nil {
			return err
		}
		if len(s.Points) == 0 {
			return fmt.Errorf("series %q: no points", s.Peer)
		}
		for i, p := range s.Points {
			if err := checkPoint(p, x, y); err != nil {
				return fmt.Errorf("series %q: point %d: %w", s.Peer, i, err)
			}
			if i > 0 && p.X <= s.Points[i-1].X {
				return fmt.Errorf("series %q: point %d: X %v after %v", s.Peer, i, p.X, s.Points[i-1].X)
			}
		}
	}
	return nil
}

func checkPeer(name string, seen map[string]bool) error {
	if blank(name) {
		return errors.New("a peer has no name")
	}
	if seen[name] {
		return fmt.Errorf("peer %q is there twice", name)
	}
	seen[name] = true
	return nil
}

// blank says whether nothing of s would be seen.
func blank(s string) bool { return strings.TrimSpace(s) == "" }

func checkPoint(p Point, x, y Axis) error {
	// 0 has a place of its own on a logarithmic X axis.
	if err := checkFigure("X", p.X, x.Log && p.X != 0); err != nil {
		return err
	}
	if err := checkFigure("Y", p.Y, y.Log); err != nil {
		return err
	}
	return checkSpread(p.Y, p.Low, p.High, y.Log)
}

func checkSpread(v, low, high float64, log bool) error {
	if low == 0 && high == 0 {
		return nil
	}
	if err := errors.Join(checkFigure("Low", low, log), checkFigure("High", high, log)); err != nil {
		return err
	}
	if low > v || v > high {
		return fmt.Errorf("%v lies outside of its spread %v to %v", v, low, high)
	}
	return nil
}

func checkFigure(name string, v float64, log bool) error {
	switch {
	case math.IsNaN(v) || math.Abs(v) > largest:
		return fmt.Errorf("%s is %v", name, v)
	case log && v < smallest:
		return fmt.Errorf("%s is %v on a logarithmic axis", name, v)
	}
	return nil
}
