package chart

import (
	"errors"
	"fmt"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Bars is groups of horizontal bars from 0 on, beside a reference.
type Bars struct {
	Title, Subtitle string
	Label           string // what the bars show
	Groups          []Group
	Reference       float64
	ReferenceLabel  string
}

// Group is bars that are compared with each other.
type Group struct {
	Name string
	Bars []Bar
}

// Bar is one peer's figure with the interval of its samples.
type Bar struct {
	Peer             string
	Value, Low, High float64
	Missing          string // why there is no figure, if there is none
}

// check returns an error for bars that cannot be drawn.
func (b Bars) check() error {
	figures := 0
	for _, g := range b.Groups {
		for _, bar := range g.Bars {
			if bar.Missing != "" {
				continue
			}
			figures++
			switch {
			case !finite(bar.Value, bar.Low, bar.High):
				return fmt.Errorf("group %q: bar %+v is not finite", g.Name, bar)
			case bar.Low < 0 || bar.Low > bar.Value || bar.Value > bar.High:
				return fmt.Errorf("group %q: bar %q: %v is outside its interval %v to %v", g.Name, bar.Peer, bar.Value, bar.Low, bar.High)
			}
		}
	}
	if figures == 0 {
		return errors.New("no bar has a figure")
	}
	return nil
}

const (
	barPitch   = 21.0 // of the rows
	barHeight  = 13.0
	groupHead  = 24.0
	groupSpace = 12.0 // between a group's last row and the next head
)

func (b Bars) height() vg.Length {
	height := vg.Length(0)
	for _, g := range b.Groups {
		height += groupHead + barPitch*vg.Length(len(g.Bars)) + groupSpace
	}
	return height
}

// SVG returns the picture.
func (b Bars) SVG() ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("chart: %q: %w", b.Title, err)
	}
	const reference, axes = 26, 40
	s := newSheet(b.Title, b.Subtitle, reference+b.height()+axes)
	p := newPlot()
	p.HideY()
	p.X.Width = 0
	names, values, high := vg.Length(0), vg.Length(0), b.Reference
	for _, g := range b.Groups {
		for _, bar := range g.Bars {
			names, values = max(names, nameText.Width(bar.Peer)), max(values, nameText.Width(bar.figure()))
			high = max(high, bar.High)
		}
	}
	ticks := evenTicks(0, high, 6)
	p.X.Min, p.X.Max = 0, ticks[len(ticks)-1].Value
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	p.X.Label.Text = b.Label
	p.Add(b)
	p.Draw(draw.Crop(s.Canvas, names+10, -values-10, 0, -reference))
	return s.finish(b.description())
}

// Plot implements [plot.Plotter]. The reference is drawn over the bars and below the text.
func (b Bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	reference := x(b.Reference)
	top := c.Max.Y
	var write []func()
	for _, g := range b.Groups {
		heading := vg.Point{X: pad, Y: top - 15}
		write = append(write, func() { c.FillText(headText, heading, g.Name) })
		top -= groupHead
		bottom := top - barPitch*vg.Length(len(g.Bars))
		for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
			c.StrokeLine2(draw.LineStyle{Color: grid.light, Width: 1}, x(t.Value), bottom, x(t.Value), top)
		}
		for i, bar := range g.Bars {
			y := top - barPitch*(vg.Length(i)+0.5)
			bar.draw(c, x, y)
			write = append(write, func() { bar.write(c, x, y, reference) })
		}
		c.StrokeLine2(draw.LineStyle{Color: axis.light, Width: 1}, c.Min.X, bottom, c.Min.X, top)
		top = bottom - groupSpace
	}
	c.StrokeLine2(draw.LineStyle{Color: ink.light, Width: 1.2, Dashes: []vg.Length{5, 3}}, reference, c.Min.Y, reference, c.Max.Y)
	c.FillText(centred(mutedText), vg.Point{X: reference, Y: c.Max.Y + 6}, b.ReferenceLabel)
	for _, w := range write {
		w()
	}
}

// draw draws the bar around y.
func (b Bar) draw(c draw.Canvas, x func(float64) vg.Length, y vg.Length) {
	if b.Missing != "" {
		return
	}
	const half = barHeight / 2
	c.FillPolygon(lookOf(b.Peer).light, []vg.Point{
		{X: c.Min.X, Y: y - half}, {X: x(b.Value), Y: y - half}, {X: x(b.Value), Y: y + half}, {X: c.Min.X, Y: y + half},
	})
}

// write draws the interval of a bar, its name, and its figure to the right of the interval
// and, if they would overlap, of the reference.
func (b Bar) write(c draw.Canvas, x func(float64) vg.Length, y, reference vg.Length) {
	c.FillText(right(nameText), vg.Point{X: c.Min.X - 10, Y: y - 4}, b.Peer)
	if b.Missing != "" {
		c.FillText(mutedText, vg.Point{X: c.Min.X + 7, Y: y - 4}, b.Missing)
		return
	}
	const clear, blot = 6, 2 // a narrower interval would only be a blot
	low, high := x(b.Low), x(b.High)
	// The rim separates the interval from the bar, whatever colour that has.
	for _, style := range []draw.LineStyle{{Color: card.light, Width: 3.5}, {Color: ink.light, Width: 1.1}} {
		if high-low >= blot {
			c.StrokeLines(style, []vg.Point{{X: low, Y: y}, {X: high, Y: y}},
				[]vg.Point{{X: low, Y: y - 3}, {X: low, Y: y + 3}}, []vg.Point{{X: high, Y: y - 3}, {X: high, Y: y + 3}})
		}
	}
	at := high + clear
	if at-clear < reference && reference < at+nameText.Width(b.figure())+clear {
		at = reference + clear
	}
	c.FillText(nameText, vg.Point{X: at, Y: y - 4}, b.figure())
}

func (b Bar) figure() string { return strconv.FormatFloat(b.Value, 'f', 2, 64) }
