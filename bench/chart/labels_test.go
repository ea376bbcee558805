package chart

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestArrange(t *testing.T) {
	for _, test := range []struct {
		name       string
		ends, want []float64
	}{
		{"all with room stay", []float64{50, 10, 90}, []float64{10, 50, 90}},
		{"two in one place part", []float64{50, 50}, []float64{42, 58}},
		{"pushed together they share it", []float64{50, 54, 56}, []float64{37.333, 53.333, 69.333}},
		{"not above the top", []float64{2, 3}, []float64{0, 16}},
		{"not below the bottom", []float64{99, 100}, []float64{84, 100}},
	} {
		labels := make([]endLabel, len(test.ends))
		for i, y := range test.ends {
			labels[i].lineY = y
		}
		arrange(labels, 0, 100)
		for i, l := range labels {
			if d := l.labelY - test.want[i]; d > 0.001 || d < -0.001 {
				t.Errorf("%s: label %d at %.3f, want %.3f", test.name, i, l.labelY, test.want[i])
			}
		}
	}
}

func TestLabelsKeepOrderAndDistance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		labels := make([]endLabel, rapid.IntRange(1, 12).Draw(t, "labels"))
		for i := range labels {
			labels[i].lineY = rapid.Float64Range(100, 300).Draw(t, "y")
		}
		arrange(labels, 100, 300)
		for i, l := range labels {
			if l.labelY < 100 || l.labelY > 300+1e-9 {
				t.Fatalf("label at %v", l.labelY)
			}
			if i > 0 && (l.lineY < labels[i-1].lineY || l.labelY-labels[i-1].labelY < labelPitch-1e-9) {
				t.Fatalf("%v after %v", l, labels[i-1])
			}
		}
	})
}

// count counts the texts of a picture that are s.
func count(t *testing.T, p Picture, s string) int {
	t.Helper()
	n := 0
	for _, text := range texts(t, draw(t, p)) {
		if text == s {
			n++
		}
	}
	return n
}

func TestLegendStandsWhereALineHasNoLabel(t *testing.T) {
	long := []Point{{X: 1, Y: 1}, {X: 2, Y: 2}}
	short := long[:1]
	for name, test := range map[string]struct {
		series []Series
		want   map[string]int
	}{
		"one line":          {[]Series{{Peer: "a", Points: long}}, map[string]int{"a": 0}},
		"labels at all":     {[]Series{{Peer: "a", Points: long}, {Peer: "b", Points: long}}, map[string]int{"a": 1, "b": 1}},
		"one ends too soon": {[]Series{{Peer: "a", Points: long}, {Peer: "b", Points: short}}, map[string]int{"a": 2, "b": 1}},
	} {
		for peer, want := range test.want {
			if got := count(t, lines(axis, axis, test.series), peer); got != want {
				t.Errorf("%s: %q stands there %d times, want %d", name, peer, got, want)
			}
		}
	}
}

func TestWrap(t *testing.T) {
	const text = "The quick brown fox  jumps\nover the lazy dog and a " + "Donaudampfschiffahrtsgesellschaft"
	lines := wrap(text, textFont, 120)
	for _, line := range lines {
		if w := textWidth(line, textFont); w > 120 || w == 0 {
			t.Errorf("%q is %v wide", line, w)
		}
	}
	joined := strings.Join(lines, " ")
	if want := "The quick brown fox jumps over the lazy dog and a Donau"; !strings.HasPrefix(joined, want) || !strings.HasSuffix(joined, "…") {
		t.Errorf("%q", joined)
	}
	if got := wrap(" ", textFont, 120); len(got) != 0 {
		t.Errorf("of nothing: %q", got)
	}
	if got, want := wrap("a b", textFont, 5), []string{"…", "…"}; textWidth("a", textFont) < 5 || !slices.Equal(got, want) {
		t.Errorf("without room: %q, want %q", got, want)
	}
}
