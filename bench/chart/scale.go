package chart

import (
	"iter"
	"math"
)

// span is the range of some figures.
type span struct{ min, max float64 }

// noSpan is the range of no figures.
var noSpan = span{math.Inf(1), math.Inf(-1)}

func (s *span) add(v float64) {
	s.min, s.max = min(s.min, v), max(s.max, v)
}

func (s span) empty() bool { return s.min > s.max }

// tick is a value that an axis names.
type tick struct {
	value float64
	label string
}

// scale places an axis's values between two coordinates. Its domain reaches from
// the first to the last tick.
type scale struct {
	ticks    []tick // increasing
	from, to float64
	// warp turns a value into a length along the axis, up to a factor; nil
	// leaves it as it is.
	warp func(float64) float64
	// outlier is set where one end of the axis is a value that has no finite
	// place on it: 0 on a logarithmic axis, the maximum among percentiles.
	outlier    bool
	outlierAt  float64 // its value
	outlierPos float64 // its coordinate
}

// outlierSlot is the length of the axis that an outlier's place takes: enough
// for the labels on both sides of the gap.
const outlierSlot = 60.0

// at returns the coordinate of v.
func (s scale) at(v float64) float64 {
	if s.outlier && v == s.outlierAt {
		return s.outlierPos
	}
	first, last, from, to := s.finite()
	if s.warp != nil {
		first, last, v = s.warp(first), s.warp(last), s.warp(v)
	}
	return from + (v-first)/(last-first)*(to-from)
}

// finite returns the part of the axis without the outlier: the values at its
// ends and their coordinates.
func (s scale) finite() (first, last, from, to float64) {
	ticks := s.ticks
	from, to = s.from, s.to
	if s.outlier {
		if s.outlierPos == from {
			ticks, from = ticks[1:], from+outlierSlot
		} else {
			ticks, to = ticks[:len(ticks)-1], to-outlierSlot
		}
	}
	return ticks[0].value, ticks[len(ticks)-1].value, from, to
}

// gap returns the coordinate at which an axis with an outlier is interrupted.
func (s scale) gap() (at float64, ok bool) {
	if !s.outlier {
		return 0, false
	}
	_, _, from, to := s.finite()
	if s.outlierPos == s.from {
		return (s.from + from) / 2, true
	}
	return (s.to + to) / 2, true
}

// room says whether the ticks of a scale have the room that they need.
type room func(scale) bool

// beside returns the room that labels under a horizontal axis need when at
// least apart units are wanted between their middles.
func beside(apart float64) room {
	return func(s scale) bool {
		for i := 1; i < len(s.ticks); i++ {
			a, b := s.ticks[i-1], s.ticks[i]
			between := s.at(b.value) - s.at(a.value)
			if between < apart || between < (textWidth(a.label, textFont)+textWidth(b.label, textFont))/2+10 {
				return false
			}
		}
		return true
	}
}

// above returns the room that labels beside a vertical axis need when at least
// apart units are wanted between them.
func above(apart float64) room {
	return func(s scale) bool {
		for i := 1; i < len(s.ticks); i++ {
			if math.Abs(s.at(s.ticks[i].value)-s.at(s.ticks[i-1].value)) < apart {
				return false
			}
		}
		return true
	}
}

// first returns base with the first of the candidates for its ticks that has
// room, or with the last candidate.
func (base scale) first(candidates iter.Seq[[]tick], fits room) scale {
	for ticks := range candidates {
		base.ticks = ticks
		if fits(base) {
			break
		}
	}
	return base
}

// linear returns the scale of an axis that shows d between two coordinates.
func linear(d span, from, to float64, fits room) scale {
	return scale{from: from, to: to}.first(linearTicks(d), fits)
}

// logarithmic returns the scale of a logarithmic axis that shows d, which is
// above 0 or empty, and 0 beside it when zero is set.
func logarithmic(d span, zero bool, from, to float64, fits room) scale {
	if d.empty() {
		d = span{1, 10}
	}
	s := scale{from: from, to: to, warp: math.Log10}
	candidates := logTicks(d)
	if zero {
		s.outlier, s.outlierAt, s.outlierPos = true, 0, from
		candidates = with(candidates, func(ticks []tick) []tick {
			return append([]tick{{0, "0"}}, ticks...)
		})
	}
	return s.first(candidates, fits)
}

// maximum is the percentile that no sample is above.
const maximum = 100

// percentiles returns the scale on which each further nine of a percentile takes
// the same length, as 1/(1-p) on a logarithmic axis. The maximum, which would
// lie at infinity, stands at the end.
func percentiles(d span, hasMax bool, from, to float64, fits room) scale {
	if d.empty() {
		d = span{50, 90}
	}
	s := scale{from: from, to: to, warp: func(p float64) float64 { return -math.Log10(1 - p/100) }}
	candidates := percentileTicks(d)
	if hasMax {
		s.outlier, s.outlierAt, s.outlierPos = true, maximum, to
		candidates = with(candidates, func(ticks []tick) []tick {
			return append(ticks, tick{maximum, "max"})
		})
	}
	return s.first(candidates, fits)
}

func with(candidates iter.Seq[[]tick], change func([]tick) []tick) iter.Seq[[]tick] {
	return func(yield func([]tick) bool) {
		for ticks := range candidates {
			if !yield(change(ticks)) {
				return
			}
		}
	}
}
