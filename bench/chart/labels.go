package chart

import (
	"cmp"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	labelPitch  = 16.0 // between the baselines of two labels
	labelLead   = 22.0 // from the end of the axis to the label
	labelSample = 26.0 // of the line
)

// labels names the lines to the right of their ends. Each has a sample of its line, so
// that lines that end at the same point can be distinguished.
type labels []label

type label struct {
	peer string
	look
	x, y float64 // of the line's end
}

func newLabels(all []Series, x layout) labels {
	var l labels
	for _, s := range all {
		last := s.Points[len(s.Points)-1]
		l = append(l, label{peer: s.Peer, look: lookOf(s.Peer), x: x.at(last.X), y: last.Y})
	}
	slices.SortStableFunc(l, func(a, b label) int { return cmp.Compare(a.y, b.y) })
	return l
}

// labelWidth returns the width of the labels of series.
func labelWidth(all []Series) vg.Length {
	widest := vg.Length(0)
	for _, s := range all {
		widest = max(widest, nameText.Width(s.Peer))
	}
	return labelLead + labelSample + 6 + widest
}

func (l labels) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	heights := make([]vg.Length, len(l))
	for i := range l {
		heights[i] = y(l[i].y)
	}
	from := c.Max.X + labelLead
	for i, at := range spread(heights, labelPitch, c.Min.Y, c.Max.Y) {
		lead := draw.LineStyle{Color: l[i].light, Width: 0.8}
		c.StrokeLines(lead, []vg.Point{{X: x(l[i].x) + 8, Y: heights[i]}, {X: c.Max.X + 6, Y: heights[i]}, {X: from - 3, Y: at}})
		c.StrokeLine2(l[i].line(), from, at, from+labelSample, at)
		l[i].mark(&c, vg.Point{X: from + labelSample/2, Y: at})
		c.FillText(nameText, vg.Point{X: from + labelSample + 6, Y: at - 4}, l[i].peer)
	}
}

// spread returns the heights of labels, whose wanted heights rise: in the same order, at
// least pitch apart, between low and high if there is room for all.
func spread(wanted []vg.Length, pitch, low, high vg.Length) []vg.Length {
	at := slices.Clone(wanted)
	for i := range at {
		at[i] = max(at[i], low+vg.Length(i)*pitch)
		if i > 0 {
			at[i] = max(at[i], at[i-1]+pitch)
		}
	}
	for i := range slices.Backward(at) {
		at[i] = min(at[i], high-vg.Length(len(at)-1-i)*pitch)
	}
	return at
}
