package chart

import (
	"fmt"
	"math"
	"strings"
)

// area is the rectangle that data are drawn in, with the scales of its sides.
type area struct {
	left, top, right, bottom float64
	x, y                     scale
}

// valueScale returns the vertical scale for the figures of series between two
// coordinates. A linear one begins at 0, so that lengths compare as figures do.
func valueScale(a Axis, all []Series, bottom, top, apart float64) scale {
	d := noSpan
	for _, s := range all {
		for _, p := range s.Points {
			d.add(p.low())
			d.add(p.high())
		}
	}
	if a.Log {
		return logarithmic(d, false, bottom, top, above(min(apart, 20)))
	}
	d.add(0)
	return linear(d, bottom, top, above(apart))
}

// loadSpan returns the range of X and whether 0, which is left out of the range
// on a logarithmic axis, is among them.
func loadSpan(all []Series, log bool) (d span, zero bool) {
	d = noSpan
	for _, s := range all {
		for _, p := range s.Points {
			if log && p.X == 0 {
				zero = true
				continue
			}
			d.add(p.X)
		}
	}
	return d, zero
}

// labelRoom returns the width that the labels of a vertical scale take.
func labelRoom(s scale) float64 {
	room := 24.0
	for _, t := range s.ticks {
		room = max(room, textWidth(t.label, textFont))
	}
	return room + 8
}

// grid draws gridlines, the labels of the vertical axis, and the horizontal
// axis with its labels and its title when it has one.
func (f *frame) grid(a area, title string) {
	for _, t := range a.x.ticks {
		f.line("grid", a.x.at(t.value), a.top, a.x.at(t.value), a.bottom)
	}
	for _, t := range a.y.ticks {
		y := a.y.at(t.value)
		f.line("grid", a.left, y, a.right, y)
		f.text("tick", end, a.left-8, y+4, t.label)
	}
	base := a.bottom
	if first := a.y.ticks[0]; first.value < 0 {
		base = a.y.at(0)
	}
	if gap, ok := a.x.gap(); ok {
		f.line("axis", a.left, base, gap-3, base)
		f.line("axis", gap+3, base, a.right, base)
		f.line("axis", gap-5, base+5, gap-1, base-5)
		f.line("axis", gap+1, base+5, gap+5, base-5)
	} else {
		f.line("axis", a.left, base, a.right, base)
	}
	f.y = a.bottom
	if title == "" {
		return
	}
	for _, t := range a.x.ticks {
		f.text("tick", middle, a.x.at(t.value), a.bottom+18, t.label)
	}
	f.text("muted", middle, (a.left+a.right)/2, a.bottom+38, truncate(title, textFont, a.right-a.left))
	f.y = a.bottom + 42
}

// spread is how the range of a point's samples is drawn.
type spread int

const (
	whiskers spread = iota
	band
)

// series draws all lines of an area, the first one on top.
func (f *frame) series(a area, all []Series, style spread) {
	if style == band {
		for _, s := range all {
			f.band(a, s)
		}
	}
	for i := len(all) - 1; i >= 0; i-- {
		s := all[i]
		f.group(f.classes[s.Peer], func() {
			if style == whiskers {
				f.whiskers(a, s.Points)
			}
			if len(s.Points) > 1 {
				var d path
				for _, p := range s.Points {
					d.to(a.x.at(p.X), a.y.at(p.Y))
				}
				f.stroke(s.Peer, d.String())
			}
			f.marks(a, s, float64(i)/float64(len(all)))
		})
	}
}

// marks draws the markers of a line: all of them where they have room, else one
// every so often, each line's beginning at another phase, a part of that
// distance.
func (f *frame) marks(a area, s Series, phase float64) {
	const crowded, sparse = 14.0, 90.0
	points := s.Points
	length := a.x.at(points[len(points)-1].X) - a.x.at(points[0].X)
	all := length >= crowded*float64(len(points)-1)
	next := a.x.at(points[0].X) + sparse*phase
	if length < sparse {
		next = a.x.at(points[0].X)
	}
	for _, p := range points {
		x := a.x.at(p.X)
		if !all && x < next {
			continue
		}
		next = x + sparse
		f.mark(f.looks[s.Peer].marker, x, a.y.at(p.Y))
	}
}

func (f *frame) whiskers(a area, points []Point) {
	const half = 3 // of a whisker's end
	var lines [][4]float64
	for _, p := range points {
		if !p.hasSpread() {
			continue
		}
		x, low, high := a.x.at(p.X), a.y.at(p.Low), a.y.at(p.High)
		lines = append(lines, [4]float64{x, low, x, high},
			[4]float64{x - half, low, x + half, low}, [4]float64{x - half, high, x + half, high})
	}
	if len(lines) > 0 {
		f.segments("whisker", lines...)
	}
}

func (f *frame) band(a area, s Series) {
	var d path
	wide := false
	for _, p := range s.Points {
		wide = wide || p.hasSpread()
		d.to(a.x.at(p.X), a.y.at(p.high()))
	}
	if !wide {
		return
	}
	for i := len(s.Points) - 1; i >= 0; i-- {
		d.to(a.x.at(s.Points[i].X), a.y.at(s.Points[i].low()))
	}
	f.group(f.classes[s.Peer], func() { f.printf(`<path class="band" d="%sZ"/>`, d.String()) })
}

// describe tells the figures of series in words: all of them where they are
// few, else where a line begins and ends and between what it moves.
func describe(all []Series, x func(float64) string, unit string) string {
	const few = 12
	if unit != "" {
		unit = " " + unit
	}
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, " %s:", s.Peer)
		shown, more := s.Points, ""
		if len(shown) > few {
			d := noSpan
			for _, p := range shown {
				d.add(p.Y)
			}
			shown = []Point{shown[0], shown[len(shown)-1]}
			more = fmt.Sprintf(", between %s and %s%s", figure(d.min), figure(d.max), unit)
		}
		for i, p := range shown {
			if i > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, " %s%s at %s", figure(p.Y), unit, x(p.X))
		}
		b.WriteString(more + ".")
	}
	return b.String()
}

// lastX returns the largest X of all series.
func lastX(all []Series) float64 {
	last := math.Inf(-1)
	for _, s := range all {
		last = max(last, s.Points[len(s.Points)-1].X)
	}
	return last
}
