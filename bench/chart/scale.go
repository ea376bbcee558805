package chart

import (
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
)

// layout is the positions of the values on an X axis. The library's scales cannot show 0 on
// a logarithmic axis or a maximum beyond the percentiles, so positions are computed here
// and drawn on a linear axis.
type layout struct {
	at       func(x float64) float64
	ticks    []plot.Tick
	min, max float64
	gap      float64 // where the axis is interrupted, or NaN
}

const (
	mostTicks = 12    // different X up to which each has a tick, if there is room
	widest    = 450.0 // of an X axis, about
)

// layOut returns the layout of all points of series.
func (a Axis) layOut(all []Series) layout {
	var values []float64
	for _, s := range all {
		for _, p := range s.Points {
			values = append(values, p.X)
		}
	}
	slices.Sort(values)
	values = slices.Compact(values)

	l := layout{at: func(x float64) float64 { return x }, gap: math.NaN()}
	label := exact
	switch first, last := values[0], values[len(values)-1]; a.Scale {
	case Log:
		l.at = math.Log10
		if first == 0 && len(values) > 1 {
			least := math.Log10(values[1])
			beside := max(0.3, (math.Log10(last)-least)/8)
			l.gap = least - beside/2
			l.at = func(x float64) float64 { return max(math.Log10(x), least-beside) }
		} else if first == 0 {
			l.at = func(float64) float64 { return 0 }
		}
	case Percentile:
		label = percentile
		nines := func(p float64) float64 { return -math.Log10(1 - p/100) }
		l.at = nines
		if last == 100 {
			highest := 0.0
			if len(values) > 1 {
				highest = nines(values[len(values)-2])
			}
			l.gap = highest + 0.25
			l.at = func(p float64) float64 { return min(nines(p), highest+0.5) }
		}
	}
	l.min, l.max = l.at(values[0]), l.at(values[len(values)-1])
	if l.min == l.max {
		l.min, l.max = l.min-1, l.max+1
	}
	if a.Scale == Linear && len(values) > mostTicks {
		l.ticks = evenTicks(l.min, l.max, 10)
		l.min, l.max = l.ticks[0].Value, l.ticks[len(l.ticks)-1].Value
		return l
	}
	margin := (l.max - l.min) / 30
	l.min, l.max = l.min-margin, l.max+margin
	free := math.Inf(-1) // where the next label may begin
	for _, v := range values {
		half := (l.max - l.min) / widest * (float64(nameText.Width(label(v)))/2 + 3)
		if at := l.at(v); at-half >= free {
			l.ticks = append(l.ticks, plot.Tick{Value: at, Label: label(v)})
			free = at + half
		}
	}
	return l
}

// exact formats a value that was chosen and not measured, with all its digits.
func exact(v float64) string {
	if rounded(v, 3) != v {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return figure(v)
}

func percentile(p float64) string {
	if p == 100 {
		return "max"
	}
	return strconv.FormatFloat(p, 'f', -1, 64) + "%"
}

// valueTicks returns about n ticks of a Y axis. The first and the last are its ends.
func (a Axis) valueTicks(all []Series, n int) []plot.Tick {
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range all {
		for _, p := range s.Points {
			low, high = min(low, p.Y), max(high, p.Y, p.High)
			if p.hasInterval() {
				low = min(low, p.Low)
			}
		}
	}
	if a.Scale == Log {
		return logTicks(low, high, n)
	}
	return evenTicks(min(0, low), high, n)
}

// evenTicks returns ticks at multiples of a round step, about n of them, the
// first at or below low, the last at or above high.
func evenTicks(low, high float64, n int) []plot.Tick {
	if high <= low {
		high = low + 1
	}
	rough := (high - low) / float64(n)
	step := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, factor := range []float64{5, 2, 1} { // the next round step above
		if step*10/factor >= rough {
			step *= 10 / factor
			break
		}
	}
	var ticks []plot.Tick
	for i := math.Floor(low / step); ; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: figure(i * step)})
		if i*step >= high {
			return ticks
		}
	}
}

// logTicks returns ticks at 1, 2 and 5 times the powers of ten, or at fewer where
// that would be many more than n, the first at or below low, the last at or
// above high.
func logTicks(low, high float64, n int) []plot.Tick {
	first, last := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	factors, step := []float64{1, 2, 5}, 1.0
	if decades := last - first; decades > float64(n)/2 {
		factors, step = factors[:1], math.Ceil(decades/float64(n))
	}
	var values []float64
	for e := first; e <= last+step; e += step {
		for _, factor := range factors {
			values = append(values, rounded(factor*math.Pow(10, e), 1))
		}
	}
	// From the last value at or below low to the first at or above high.
	from := max(0, slices.IndexFunc(values, func(v float64) bool { return v > low })-1)
	to := max(from+1, slices.IndexFunc(values, func(v float64) bool { return v >= high }))
	var ticks []plot.Tick
	for _, v := range values[from : to+1] {
		ticks = append(ticks, plot.Tick{Value: v, Label: figure(v)})
	}
	return ticks
}
