package chart

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Lines is panels of lines, one above the other, that share their X axis.
type Lines struct {
	Title, Subtitle string
	X               Axis
	Panels          []Panel
}

// Panel is the lines of one Y axis.
type Panel struct {
	Y      Axis
	Series []Series
}

// SVG returns the picture.
func (l Lines) SVG() ([]byte, error) {
	if len(l.Panels) == 0 {
		return nil, fmt.Errorf("chart: %q: %w", l.Title, errors.New("no panels"))
	}
	var all []Series
	for i, p := range l.Panels {
		if err := check(p.Series, l.X, p.Y); err != nil {
			return nil, fmt.Errorf("chart: %q: panel %d: %w", l.Title, i, err)
		}
		all = append(all, p.Series...)
	}
	const heading, axes = 34, 46
	height, ticks := vg.Length(310), 8
	if len(l.Panels) > 1 {
		height, ticks = 138, 4
	}
	s := newSheet(l.Title, l.Subtitle, axes+vg.Length(len(l.Panels))*(height+heading))
	x := l.X.layOut(all)
	var plots [][]*plot.Plot
	for _, p := range l.Panels {
		plots = append(plots, []*plot.Plot{p.plot(x, ticks)})
	}
	last := plots[len(plots)-1][0]
	last.X.Label.Text = l.X.title()
	area := draw.Crop(s.Canvas, 0, -labelWidth(all), 0, 0)
	for i, row := range plot.Align(plots, draw.Tiles{Rows: len(plots), Cols: 1, PadTop: heading, PadY: heading}, area) {
		plots[i][0].Draw(row[0])
	}
	return s.finish(l.description())
}

// newPlot returns an empty plot in the style of the card.
func newPlot() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Padding, a.Color = 0, axis.light
		a.Tick.Length, a.Tick.Color = 5, axis.light
		a.Tick.Label.Font, a.Tick.Label.Color = mutedText.Font, mutedText.Color
		a.Label.TextStyle.Font, a.Label.TextStyle.Color = mutedText.Font, mutedText.Color
		a.Label.Padding = 6
	}
	p.X.Width, p.Y.Width, p.Y.Tick.Length = 1, 0, 0
	return p
}

func (p Panel) plot(x layout, n int) *plot.Plot {
	drawn := newPlot()
	drawn.X.Min, drawn.X.Max = x.min, x.max
	drawn.X.Tick.Marker = plot.ConstantTicks(x.ticks)
	ticks := p.Y.valueTicks(p.Series, n)
	drawn.Y.Min, drawn.Y.Max = ticks[0].Value, ticks[len(ticks)-1].Value
	drawn.Y.Tick.Marker = plot.ConstantTicks(ticks)
	if p.Y.Scale == Log {
		drawn.Y.Scale = plot.LogScale{}
	}
	hair := draw.LineStyle{Color: grid.light, Width: 1}
	drawn.Add(&plotter.Grid{Vertical: hair, Horizontal: hair}, heading(p.Y.title()), interruption(x.gap))
	for i, series := range slices.Backward(p.Series) { // the first one on top
		drawn.Add(plotters(series, i, len(p.Series), x)...)
	}
	drawn.Add(newLabels(p.Series, x))
	return drawn
}

// heading is the title of a Y axis. It is above the panel, because vertical text is hard
// to read.
type heading string

func (h heading) Plot(c draw.Canvas, _ *plot.Plot) {
	c.FillText(headText, vg.Point{X: pad, Y: c.Max.Y + 12}, string(h))
}

// interruption marks the position at which the X axis is interrupted.
type interruption float64

func (at interruption) Plot(c draw.Canvas, p *plot.Plot) {
	if math.IsNaN(float64(at)) {
		return
	}
	x := c.X(p.X.Norm(float64(at)))
	c.StrokeLine2(draw.LineStyle{Color: card.light, Width: 3}, x-3, c.Min.Y, x+3, c.Min.Y)
	for _, x := range []vg.Length{x - 3, x + 3} {
		c.StrokeLine2(draw.LineStyle{Color: axis.light, Width: 1}, x-2, c.Min.Y-5, x+2, c.Min.Y+5)
	}
}

// plotters returns what draws s, which is number i of n in its panel: a line, its
// intervals and its glyphs. Lines with intervals are shifted a little against each other,
// so that the intervals do not cover each other. If points are crowded, only some have a
// glyph, in turn with the other lines.
func plotters(s Series, i, n int, x layout) []plot.Plotter {
	const apart, glyphs = 0.007, 8
	shift, every := 0.0, 1
	if slices.ContainsFunc(s.Points, Point.hasInterval) {
		shift = (float64(i) - float64(n-1)/2) * apart * (x.max - x.min)
	}
	if len(s.Points) > 2*glyphs {
		every = len(s.Points) / glyphs
	}
	look := lookOf(s.Peer)
	line := &plotter.Line{LineStyle: look.line()}
	intervals := &plotter.YErrorBars{CapWidth: 5, LineStyle: draw.LineStyle{Color: look.light, Width: 1.1}}
	marks := &marks{look: look}
	for k, p := range s.Points {
		at := plotter.XY{X: x.at(p.X) + shift, Y: p.Y}
		line.XYs = append(line.XYs, at)
		if p.hasInterval() {
			intervals.XYs = append(intervals.XYs, at)
			intervals.YErrors = append(intervals.YErrors, struct{ Low, High float64 }{p.Low - p.Y, p.High - p.Y})
		}
		if k%every == i*every/n {
			marks.at = append(marks.at, at)
		}
	}
	return []plot.Plotter{line, intervals, marks}
}

// marks draws the glyphs of a line.
type marks struct {
	look
	at plotter.XYs
}

func (m *marks) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, at := range m.at {
		m.mark(&c, vg.Point{X: x(at.X), Y: y(at.Y)})
	}
}
