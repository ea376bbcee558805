package chart

import (
	"errors"
	"fmt"
	"math"
)

// Timeline is panels above each other that share their time axis. A peer has
// the same look in all of them.
type Timeline struct {
	Title, Subtitle string
	Panels          []Panel
}

// Panel shows figures over seconds.
type Panel struct {
	Y      Axis
	Series []Series // X in seconds
}

// SVG returns the picture.
func (t Timeline) SVG() ([]byte, error) {
	if err := checkHead(t.Title); err != nil {
		return nil, err
	}
	if len(t.Panels) == 0 {
		return nil, fmt.Errorf("chart: %q: %w", t.Title, errors.New("no panels"))
	}
	var all []Series
	for i, p := range t.Panels {
		if err := checkHead(t.Title, p.Y); err != nil {
			return nil, err
		}
		if err := checkSeries(p.Series, Axis{}, p.Y); err != nil {
			return nil, fmt.Errorf("chart: %q: panel %d: %w", t.Title, i, err)
		}
		all = append(all, p.Series...)
	}
	return t.draw(all), nil
}

func (t Timeline) draw(all []Series) []byte {
	const height, margin, between = 116.0, 24.0, 14.0
	f := newFrame(t.Title, t.Subtitle, peerNames(all))
	f.legend()

	areas := make([]area, len(t.Panels))
	left, top := 0.0, f.y
	for i, p := range t.Panels {
		top += 38
		y := valueScale(p.Y, p.Series, top+height, top, 22)
		areas[i] = area{top: top, bottom: top + height, right: width - pad - margin, y: y}
		left = math.Max(left, pad+labelRoom(y))
		top += height + between
	}
	d, _ := loadSpan(all, false)
	description := "Lines over seconds."
	for i, p := range t.Panels {
		a := areas[i]
		a.left = left
		a.x = linear(d, a.left, a.right, beside(44))
		f.text("head", start, pad, a.top-14, truncate(p.Y.title(), boldFont, width-2*pad))
		title := ""
		if i == len(t.Panels)-1 {
			title = "Time (s)"
		}
		f.grid(a, title)
		f.series(a, p.Series, band)
		description += fmt.Sprintf(" %s.", p.Y.title()) + describe(p.Series, seconds, p.Y.Unit)
	}
	return f.finish(description)
}

func seconds(t float64) string { return figure(t) + " s" }
