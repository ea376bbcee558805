package chart

import (
	"iter"
	"math"
	"slices"
)

// Each function here yields ticks that cover a range, ever fewer of them: the
// first with enough room for its labels is the one to take.

// linearTicks yields the multiples of steps of 1, 2 and 5 times a power of ten.
func linearTicks(d span) iter.Seq[[]tick] {
	// Closer figures than these could not be told apart on an axis; they get
	// the middle of one that is wide enough.
	if d.max-d.min < max(smallest, 1e-6*math.Max(math.Abs(d.min), math.Abs(d.max))) {
		if math.Abs(d.min) < smallest {
			d = span{0, 1}
		} else {
			half := math.Abs(d.min) / 2
			d = span{d.min - half, d.max + half}
		}
	}
	return func(yield func([]tick) bool) {
		exponent := decade(d.max-d.min) - 1
		for {
			for _, mantissa := range []float64{1, 2, 5} {
				ticks := multiples(d, mantissa, exponent)
				if !yield(ticks) || len(ticks) <= 3 {
					return
				}
			}
			exponent++
		}
	}
}

// multiples returns the multiples of mantissa*10^exponent from the last one at
// or below d to the first at or above it.
func multiples(d span, mantissa float64, exponent int) []tick {
	// Powers of ten below 1 are not exact, those above are: dividing by the one
	// is better than multiplying with the other.
	times, by := mantissa*math.Pow10(max(0, exponent)), math.Pow10(max(0, -exponent))
	multiple := func(i float64) float64 { return i * times / by }
	low, high := math.Floor(d.min/times*by), math.Ceil(d.max/times*by)
	// The quotients may lie a hair on the wrong side of an integer.
	if multiple(low) > d.min {
		low--
	} else if multiple(low+1) <= d.min {
		low++
	}
	if multiple(high) < d.max {
		high++
	} else if multiple(high-1) >= d.max {
		high--
	}
	ticks := make([]tick, 0, int(high-low)+1)
	for i := low; i <= high; i++ {
		ticks = append(ticks, tick{multiple(i), tickLabel(multiple(i), times/by)})
	}
	return ticks
}

// logTicks yields 1, 2 and 5 times the powers of ten, then the powers, then
// every second one, and so on. d is above 0.
func logTicks(d span) iter.Seq[[]tick] {
	if d.min == d.max {
		d = span{d.min / 2, d.max * 2}
	}
	return func(yield func([]tick) bool) {
		if !yield(logSteps(d, []float64{1, 2, 5}, 1)) {
			return
		}
		for stride := 1; ; stride++ {
			ticks := logSteps(d, []float64{1}, stride)
			if !yield(ticks) || len(ticks) <= 2 {
				return
			}
		}
	}
}

// logSteps returns the mantissas times every stride-th power of ten, from the
// last at or below d to the first at or above it.
func logSteps(d span, mantissas []float64, stride int) []tick {
	var ticks []tick
	for exponent := decade(d.min); ; exponent += stride {
		for _, mantissa := range mantissas {
			v := mantissa * math.Pow10(exponent)
			if exponent < 0 {
				v = mantissa / math.Pow10(-exponent)
			}
			t := tick{v, tickLabel(v, v)}
			if v <= d.min {
				ticks = []tick{t}
				continue
			}
			ticks = append(ticks, t)
			if v >= d.max {
				return ticks
			}
		}
	}
}

// nines are the percentiles that an axis names above the median. They are
// literals, as a caller's are, so that both are the same float64.
var nines = []tick{
	{90, "90%"}, {99, "99%"}, {99.9, "99.9%"}, {99.99, "99.99%"}, {99.999, "99.999%"}, {99.9999, "99.9999%"}, {99.99999, "99.99999%"},
}

// lastNine is the largest percentile below the maximum that an axis can show.
const lastNine = 99.99999

// percentileTicks yields the median, or 0 and the median, and then the nines
// until d is covered; then the first of those and every second of the nines, and
// so on.
func percentileTicks(d span) iter.Seq[[]tick] {
	return func(yield func([]tick) bool) {
		head := []tick{{50, "50%"}}
		if d.min < 50 {
			head = []tick{{0, "0%"}, {50, "50%"}}
		}
		for stride := 1; stride <= len(nines); stride++ {
			if stride == 2 {
				head = head[:1]
			}
			ticks := slices.Clone(head)
			for i := 0; ; i += stride {
				nine := nines[min(i, len(nines)-1)]
				ticks = append(ticks, nine)
				if nine.value >= d.max {
					break
				}
			}
			if !yield(ticks) {
				return
			}
		}
	}
}
