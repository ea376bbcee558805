package chart

import (
	"math"
	"strconv"
	"strings"
)

var suffixes = []struct {
	unit float64
	name string
}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}

// tickLabel formats v, one of the ticks at multiples of step, exactly.
func tickLabel(v, step float64) string {
	unit, name := 1.0, ""
	for _, s := range suffixes {
		// Three digits after the point, at most.
		if math.Abs(v) >= s.unit && step >= s.unit/1000 {
			unit, name = s.unit, s.name
			break
		}
	}
	// The digits beyond those of the step are errors of division.
	digits := max(0, -decade(step/unit))
	text := strconv.FormatFloat(v/unit, 'f', digits, 64)
	return trimZeros(text) + name
}

// figure formats v to three significant digits, "0.72", "16.5", "91.2k": those
// after the point are never more than two, but for figures below 0.1.
func figure(v float64) string {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'e', 2, 64), 64)
	if err != nil || rounded == 0 {
		return "0"
	}
	unit, name := 1.0, ""
	for _, s := range suffixes {
		if math.Abs(rounded) >= s.unit {
			unit, name = s.unit, s.name
			break
		}
	}
	exponent := decade(math.Abs(rounded) / unit)
	digits := max(0, 2-max(0, exponent))
	if exponent < -1 {
		digits = min(9, 1-exponent)
	}
	return strconv.FormatFloat(rounded/unit, 'f', digits, 64) + name
}

// decade returns the exponent of the power of ten at or below v, which is above
// 0. It is exact at the powers themselves, where math.Log10 may not be.
func decade(v float64) int {
	_, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', -1, 64), "e")
	e, err := strconv.Atoi(exponent)
	if err != nil {
		return 0 // only what is not finite is written without an exponent
	}
	return e
}

// trimZeros drops the zeros after the point that say nothing.
func trimZeros(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}
