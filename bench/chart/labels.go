package chart

import (
	"cmp"
	"slices"
)

// The labels at the ends of lines stand in a column to the right of the last
// point of all. A line that ends earlier gets none, for its label would lie on
// the other lines.
const (
	labelPitch  = 16.0 // between the baselines of two labels
	labelLead   = 30.0 // from the last point to the column
	labelWidest = 150.0
)

type endLabel struct {
	peer   string
	name   string  // as much of the peer's as there is room for
	lineY  float64 // of the line's end
	labelY float64 // of the label's middle
}

// labelled returns the series that end at the last X, or none when there is
// nothing to tell apart.
func labelled(all []Series) []Series {
	if len(all) < 2 {
		return nil
	}
	last := lastX(all)
	var ends []Series
	for _, s := range all {
		if s.Points[len(s.Points)-1].X == last {
			ends = append(ends, s)
		}
	}
	return ends
}

// columnWidth returns the width of the labels of series.
func columnWidth(all []Series) float64 {
	widest := 0.0
	for _, s := range all {
		widest = max(widest, textWidth(truncate(s.Peer, textFont, labelWidest), textFont))
	}
	return widest
}

// endLabels draws the labels of series, which all end at the last X.
func (f *frame) endLabels(a area, all []Series) {
	if len(all) == 0 {
		return
	}
	labels := make([]endLabel, 0, len(all))
	for _, s := range all {
		y := a.y.at(s.Points[len(s.Points)-1].Y)
		labels = append(labels, endLabel{peer: s.Peer, name: truncate(s.Peer, textFont, labelWidest), lineY: y})
	}
	arrange(labels, a.top, a.bottom)
	x := a.x.at(lastX(all))
	for _, l := range labels {
		f.group(f.classes[l.peer], func() {
			f.line("lead", x+7, l.lineY, x+labelLead-5, l.labelY)
		})
		f.text("name halo", start, x+labelLead, l.labelY+4, l.name)
	}
}

// arrange sets where labels stand: in the order of their lines' ends, none
// closer to the next than labelPitch, as near to the ends as that allows (least
// squares), and between top and bottom, which have room for all.
func arrange(labels []endLabel, top, bottom float64) {
	slices.SortStableFunc(labels, func(a, b endLabel) int { return cmp.Compare(a.lineY, b.lineY) })
	// Less the room of those above it, a label's place may only not be above
	// that of the one before: isotonic regression, by pooling neighbours that
	// would cross.
	type pool struct {
		mean  float64
		count int
	}
	var pools []pool
	for i, l := range labels {
		pools = append(pools, pool{l.lineY - labelPitch*float64(i), 1})
		for len(pools) > 1 && pools[len(pools)-2].mean > pools[len(pools)-1].mean {
			a, b := pools[len(pools)-2], pools[len(pools)-1]
			count := a.count + b.count
			mean := (a.mean*float64(a.count) + b.mean*float64(b.count)) / float64(count)
			pools = append(pools[:len(pools)-2], pool{mean, count})
		}
	}
	lowest := bottom - labelPitch*float64(len(labels)-1)
	i := 0
	for _, p := range pools {
		for range p.count {
			labels[i].labelY = max(top, min(p.mean, lowest)) + labelPitch*float64(i)
			i++
		}
	}
}
