package chart

import "fmt"

// Lines is a chart of figures over a load or a size. 0 has a tick of its own at
// the left of a logarithmic X axis.
type Lines struct {
	Title, Subtitle string
	X, Y            Axis
	Series          []Series
	// Band shades the spread of the points between them too; by default it is
	// a whisker at each point.
	Band bool
}

// SVG returns the picture.
func (l Lines) SVG() ([]byte, error) {
	if err := checkHead(l.Title, l.X, l.Y); err != nil {
		return nil, err
	}
	if err := checkSeries(l.Series, l.X, l.Y); err != nil {
		return nil, fmt.Errorf("chart: %q: %w", l.Title, err)
	}
	d, zero := loadSpan(l.Series, l.X.Log)
	c := curves{title: l.Title, subtitle: l.Subtitle, xTitle: l.X.title(), y: l.Y, series: l.Series}
	c.x = func(from, to float64) scale {
		if l.X.Log {
			return logarithmic(d, zero, from, to, beside(24))
		}
		return linear(d, from, to, beside(44))
	}
	if l.Band {
		c.spread = band
	}
	f := c.draw()
	return f.finish(fmt.Sprintf("Lines of %s over %s.", l.Y.title(), l.X.title()) +
		describe(l.Series, figure, l.Y.Unit)), nil
}

// curves is a chart of one area with lines in it.
type curves struct {
	title, subtitle string
	x               func(from, to float64) scale
	xTitle          string
	y               Axis
	series          []Series
	spread          spread
}

func (c curves) draw() *frame {
	const height, margin = 300.0, 24.0
	f := newFrame(c.title, c.subtitle, peerNames(c.series))
	ends := labelled(c.series)
	if labelPitch*float64(len(ends)-1) > height {
		ends = nil
	}
	if len(ends) < len(c.series) {
		f.legend()
	}
	f.text("head", start, pad, f.y+24, truncate(c.y.title(), boldFont, width-2*pad))
	top := f.y + 42
	y := valueScale(c.y, c.series, top+height, top, 30)
	a := area{left: pad + labelRoom(y), top: top, right: width - pad - margin, bottom: top + height, y: y}
	a.x = c.x(a.left, a.right)
	if len(ends) > 0 {
		a.right = width - pad - labelLead - columnWidth(ends)
		a.x = c.x(a.left, a.right)
	}
	f.grid(a, c.xTitle)
	f.series(a, c.series, c.spread)
	f.endLabels(a, ends)
	return f
}
