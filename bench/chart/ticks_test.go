package chart

import (
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// parse returns what a tick's label says.
func parse(t fataler, label string) float64 {
	exponents := map[byte]string{'k': "e3", 'M': "e6", 'G': "e9", 'T': "e12"}
	text := label
	if e, ok := exponents[label[len(label)-1]]; ok {
		text = label[:len(label)-1] + e
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatalf("label %q: %v", label, err)
	}
	return v
}

// checkTicks fails t unless all candidates cover d, increase and end with few
// ticks.
func checkTicks(t fataler, d span, candidates iter.Seq[[]tick]) {
	last := math.MaxInt
	for ticks := range candidates {
		if len(ticks) > 200 {
			t.Fatalf("%v: %d ticks", d, len(ticks))
		}
		if first, last := ticks[0].value, ticks[len(ticks)-1].value; first > d.min || last < d.max {
			t.Fatalf("%v: ticks from %v to %v", d, first, last)
		}
		for i := 1; i < len(ticks); i++ {
			if ticks[i].value <= ticks[i-1].value {
				t.Fatalf("%v: tick %v after %v", d, ticks[i].value, ticks[i-1].value)
			}
		}
		last = len(ticks)
	}
	if last > 4 {
		t.Fatalf("%v: never less than %d ticks", d, last)
	}
}

// checkLabels fails t unless labels say what they stand at, of which the
// mantissa is 1, 2 or 5 if steps is not set, or the distance is.
func checkLabels(t fataler, candidates iter.Seq[[]tick], steps bool) {
	for ticks := range candidates {
		for i, tk := range ticks {
			if v := parse(t, tk.label); math.Abs(v-tk.value) > 1e-12*math.Abs(tk.value) {
				t.Fatalf("label %q at %v", tk.label, tk.value)
			}
			nice := tk.value
			if steps {
				nice = ticks[1].value - ticks[0].value
				if i > 0 && math.Abs(tk.value-ticks[i-1].value-nice) > 1e-6*nice {
					t.Fatalf("steps of %v and %v", nice, tk.value-ticks[i-1].value)
				}
			}
			if m := strconv.FormatFloat(nice, 'e', 3, 64)[:5]; !slices.Contains([]string{"1.000", "2.000", "5.000"}, m) {
				t.Fatalf("mantissa %s of %v", m, nice)
			}
		}
	}
}

func TestLinearTicks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := magnitudes().Draw(t, "a") * rapid.SampledFrom([]float64{-1, 0, 1}).Draw(t, "sign")
		b := magnitudes().Draw(t, "b")
		d := span{min(a, b), max(a, b)}
		checkTicks(t, d, linearTicks(d))
		checkLabels(t, linearTicks(d), true)
	})
}

// Figures that are ticks themselves, or as near to one as float64 can be.
func TestLinearTicksBesideTicks(t *testing.T) {
	const steps = 300
	for digits := range 7 {
		by := math.Pow10(digits)
		for i := range steps {
			at := float64(i) / by
			for _, d := range []span{
				{at, steps / by}, {math.Nextafter(at, -1), steps / by}, {math.Nextafter(at, 1), steps / by},
				{0, at}, {0, math.Nextafter(at, 1)},
			} {
				checkTicks(t, d, linearTicks(d))
			}
			if ticks := multiples(span{at, at}, 1, -digits); len(ticks) != 1 || ticks[0].value != at {
				t.Fatalf("at %v: ticks %v", at, ticks)
			}
		}
	}
}

func TestLogTicks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := magnitudes().Draw(t, "a"), magnitudes().Draw(t, "b")
		d := span{min(a, b), max(a, b)}
		checkTicks(t, d, logTicks(d))
		checkLabels(t, logTicks(d), false)
	})
}

func TestPercentileTicks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.OneOf(rapid.Float64Range(0, lastNine), rapid.SampledFrom([]float64{0, 50, 90, 99, 99.9, 99.99, lastNine}))
		a, b := p.Draw(t, "a"), p.Draw(t, "b")
		d := span{min(a, b), max(a, b)}
		checkTicks(t, d, percentileTicks(d))
	})
}

// on returns the labels of the ticks that an axis of 600 units gets, joined.
func on(s scale) string {
	var labels []string
	for _, t := range s.ticks {
		labels = append(labels, t.label)
	}
	return strings.Join(labels, " ")
}

func TestAxes(t *testing.T) {
	fits := beside(44)
	for _, test := range []struct {
		scale scale
		want  string
	}{
		{linear(span{0, 60}, 0, 600, fits), "0 5 10 15 20 25 30 35 40 45 50 55 60"},
		{linear(span{0, 33000}, 0, 600, fits), "0 5k 10k 15k 20k 25k 30k 35k"},
		{linear(span{0, 1.8}, 0, 600, fits), "0 0.2 0.4 0.6 0.8 1 1.2 1.4 1.6 1.8"},
		{linear(span{0, 0.3}, 0, 600, fits), "0 0.05 0.1 0.15 0.2 0.25 0.3"},
		{linear(span{-7, 11}, 0, 600, fits), "-8 -6 -4 -2 0 2 4 6 8 10 12"},
		{linear(span{1000, 1003}, 0, 600, fits), "1000 1000.5 1001 1001.5 1002 1002.5 1003"},
		{linear(span{5, 5}, 0, 600, fits), "2.5 3 3.5 4 4.5 5 5.5 6 6.5 7 7.5"},
		{linear(span{0, 1.4e10}, 0, 600, fits), "0 2G 4G 6G 8G 10G 12G 14G"},
		{logarithmic(span{1, 4000}, false, 0, 600, beside(24)), "1 2 5 10 20 50 100 200 500 1k 2k 5k"},
		{logarithmic(span{2, 10000}, false, 0, 600, beside(24)), "2 5 10 20 50 100 200 500 1k 2k 5k 10k"},
		{logarithmic(span{1, 1e6}, true, 0, 600, beside(24)), "0 1 10 100 1k 10k 100k 1M"},
		{logarithmic(span{0.3, 0.3}, false, 0, 600, beside(24)), "0.1 0.2 0.5 1"},
		{logarithmic(span{1e-9, 1e15}, false, 0, 600, beside(60)), "0.000000001 0.00001 0.1 1k 10M 100G 1000T"},
		{percentiles(span{50, 99.99}, true, 0, 600, fits), "50% 90% 99% 99.9% 99.99% max"},
		{percentiles(span{0, 99.995}, false, 0, 600, beside(24)), "0% 50% 90% 99% 99.9% 99.99% 99.999%"},
		{percentiles(span{0, lastNine}, true, 0, 500, fits), "0% 90% 99.9% 99.999% 99.99999% max"},
	} {
		if got := on(test.scale); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
}

func TestZeroHasItsOwnPlaceOnALogarithmicAxis(t *testing.T) {
	s := logarithmic(span{1, 1e6}, true, 100, 760, beside(24))
	for v, want := range map[float64]float64{0: 100, 1: 160, 1e3: 460, 1e6: 760} {
		if got := s.at(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v at %v, want %v", v, got, want)
		}
	}
	if at, ok := s.gap(); at != 130 || !ok {
		t.Errorf("gap %v at %v, want 130", ok, at)
	}
}

func TestEachNineOfAPercentileTakesTheSameLength(t *testing.T) {
	// From the median to 90 it is log10(0.5/0.1) of a nine.
	first := 100 * math.Log10(5)
	s := percentiles(span{90, 99.99}, true, 0, first+300+60, beside(24))
	for p, want := range map[float64]float64{50: 0, 90: first, 99: first + 100, 99.9: first + 200, 99.99: first + 300, 100: first + 360} {
		if got := s.at(p); math.Abs(got-want) > 1e-6 {
			t.Errorf("%v%% at %v, want %v", p, got, want)
		}
	}
	if at, ok := s.gap(); !ok || math.Abs(at-(first+330)) > 1e-6 {
		t.Errorf("gap %v at %v, want %v", ok, at, first+330)
	}
}

func TestFigures(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1.00", 0.724: "0.72", 16.54: "16.5", 164.6: "165", 999.6: "1.00k", 9.996: "10.0",
		33000: "33.0k", 91234: "91.2k", 999499: "999k", 1.25e6: "1.25M", 12.2e9: "12.2G", 1e12: "1.00T", 1e15: "1000T",
		0.1: "0.10", 0.0421: "0.042", 0.00421: "0.0042", 1e-9: "0.000000001", 1e-12: "0.000000000", -2.5: "-2.50",
	} {
		if got := figure(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}
