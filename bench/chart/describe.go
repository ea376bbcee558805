package chart

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// description returns the figures of all lines in words: every figure if there are few,
// otherwise the first, the last and the range.
func (l Lines) description() string {
	var b strings.Builder
	for i, p := range l.Panels {
		if i > 0 {
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, "Lines of %s over %s.", p.Y.title(), l.X.title())
		for _, s := range p.Series {
			fmt.Fprintf(&b, " %s: %s.", s.Peer, s.description(l.X, p.Y))
		}
	}
	return b.String()
}

func (s Series) description(x, y Axis) string {
	label, unit := exact, ""
	if x.Scale == Percentile {
		label = percentile
	}
	if y.Unit != "" {
		unit = " " + y.Unit
	}
	shown, more := s.Points, ""
	if len(shown) > mostTicks {
		byY := func(a, b Point) int { return cmp.Compare(a.Y, b.Y) }
		more = fmt.Sprintf(", between %s and %s%s", figure(slices.MinFunc(shown, byY).Y), figure(slices.MaxFunc(shown, byY).Y), unit)
		shown = []Point{shown[0], shown[len(shown)-1]}
	}
	var words []string
	for _, p := range shown {
		words = append(words, fmt.Sprintf("%s%s at %s", figure(p.Y), unit, label(p.X)))
	}
	return strings.Join(words, ", ") + more
}

// description returns the figures of all bars in words.
func (b Bars) description() string {
	s := fmt.Sprintf("Bars of %s.", b.Label)
	for _, g := range b.Groups {
		var words []string
		for _, bar := range g.Bars {
			if bar.Missing != "" {
				words = append(words, bar.Peer+" "+bar.Missing)
			} else {
				words = append(words, fmt.Sprintf("%s %s (%.2f to %.2f)", bar.Peer, bar.figure(), bar.Low, bar.High))
			}
		}
		s += fmt.Sprintf(" %s: %s.", g.Name, strings.Join(words, ", "))
	}
	return s
}
