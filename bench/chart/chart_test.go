package chart

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	axis    = Axis{Label: "load"}
	logAxis = Axis{Label: "load", Log: true}
)

// one returns a single series of points.
func one(points ...Point) []Series { return []Series{{Peer: "a", Points: points}} }

func lines(x, y Axis, series []Series) Picture {
	return Lines{Title: "T", X: x, Y: y, Series: series}
}

func oneBar(b Bar) Picture {
	return Bars{Title: "T", Label: "ratio", Groups: []Group{{Name: "g", Bars: []Bar{b}}}}
}

func TestWhatCannotBeDrawnIsAnError(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	good := one(Point{X: 1, Y: 1})
	for want, p := range map[string]Picture{
		`chart: no title`:                                                            Lines{X: axis, Y: axis, Series: good},
		`chart: "T": an axis has no label`:                                           lines(axis, Axis{Unit: "ms"}, good),
		`chart: "T": no series`:                                                      lines(axis, axis, nil),
		`chart: "T": a peer has no name`:                                             lines(axis, axis, []Series{{Peer: " ", Points: good[0].Points}}),
		`chart: "T": peer "a" is there twice`:                                        lines(axis, axis, append(good, good...)),
		`chart: "T": series "a": no points`:                                          lines(axis, axis, one()),
		`chart: "T": series "a": point 0: X is NaN`:                                  lines(axis, axis, one(Point{X: nan, Y: 1})),
		`chart: "T": series "a": point 0: X is -Inf`:                                 lines(axis, axis, one(Point{X: -inf, Y: 1})),
		`chart: "T": series "a": point 1: Y is +Inf`:                                 lines(axis, axis, one(Point{X: 1, Y: 1}, Point{X: 2, Y: inf})),
		`chart: "T": series "a": point 0: Y is 2e+15`:                                lines(axis, axis, one(Point{X: 1, Y: 2e15})),
		`chart: "T": series "a": point 0: Low is NaN`:                                lines(axis, axis, one(Point{X: 1, Y: 1, Low: nan, High: 1})),
		`chart: "T": series "a": point 0: High is +Inf`:                              lines(axis, axis, one(Point{X: 1, Y: 1, Low: 1, High: inf})),
		`chart: "T": series "a": point 1: X 1 after 1`:                               lines(axis, axis, one(Point{X: 1, Y: 1}, Point{X: 1, Y: 2})),
		`chart: "T": series "a": point 0: X is -1 on a logarithmic axis`:             lines(logAxis, axis, one(Point{X: -1, Y: 1})),
		`chart: "T": series "a": point 0: Y is 0 on a logarithmic axis`:              lines(axis, logAxis, one(Point{X: 1})),
		`chart: "T": series "a": point 0: Low is 0 on a logarithmic axis`:            lines(axis, logAxis, one(Point{X: 1, Y: 1, High: 2})),
		`chart: "T": series "a": point 0: 3 lies outside of its spread 1 to 2`:       lines(axis, axis, one(Point{X: 1, Y: 3, Low: 1, High: 2})),
		`chart: "T": series "a": point 0: 0.5 lies outside of its spread 1 to 2`:     lines(axis, axis, one(Point{X: 1, Y: 0.5, Low: 1, High: 2})),
		`chart: "P": series "a": point 0: no percentile 101`:                         Percentiles{Title: "P", Y: axis, Series: one(Point{X: 101, Y: 1})},
		`chart: "P": series "a": point 0: no percentile -1`:                          Percentiles{Title: "P", Y: axis, Series: one(Point{X: -1, Y: 1})},
		`chart: "P": series "a": point 0: no percentile 99.999999`:                   Percentiles{Title: "P", Y: axis, Series: one(Point{X: 99.999999, Y: 1})},
		`chart: "P": series "a": point 1: percentile max is below the one before it`: Percentiles{Title: "P", Y: axis, Series: one(Point{X: 90, Y: 2}, Point{X: 100, Y: 1})},
		`chart: "P": no series`:                                                      Percentiles{Title: "P", Y: axis},
		`chart: "P": an axis has no label`:                                           Percentiles{Title: "P", Series: good},
		`chart: "L": no panels`:                                                      Timeline{Title: "L"},
		`chart: "L": panel 1: no series`:                                             Timeline{Title: "L", Panels: []Panel{{Y: axis, Series: good}, {Y: axis}}},
		`chart: "L": an axis has no label`:                                           Timeline{Title: "L", Panels: []Panel{{Series: good}}},
		`chart: "B": no groups`:                                                      Bars{Title: "B", Label: "ratio"},
		`chart: "B": an axis has no label`:                                           Bars{Title: "B"},
		`chart: "B": group "g": no bars`:                                             Bars{Title: "B", Label: "ratio", Groups: []Group{{Name: "g"}}},
		`chart: "B": a group has no name`:                                            Bars{Title: "B", Label: "ratio", Groups: []Group{{}}},
		`chart: "B": Reference is NaN`:                                               Bars{Title: "B", Label: "ratio", Groups: []Group{{}}, Reference: nan},
		`chart: "B": a reference of -1, where bars begin at 0`:                       Bars{Title: "B", Label: "ratio", Groups: []Group{{}}, Reference: -1},
		`chart: "T": no bar has a figure`:                                            oneBar(Bar{Peer: "a", Missing: "–"}),
		`chart: "T": group "g": a peer has no name`:                                  oneBar(Bar{Value: 1}),
		`chart: "T": group "g": bar "a": Value is NaN`:                               oneBar(Bar{Peer: "a", Value: nan}),
		`chart: "T": group "g": bar "a": -1, where bars begin at 0`:                  oneBar(Bar{Peer: "a", Value: -1}),
		`chart: "T": group "g": bar "a": -2, where bars begin at 0`:                  oneBar(Bar{Peer: "a", Value: 1, Low: -2, High: 1}),
		`chart: "T": group "g": bar "a": 3 lies outside of its spread 1 to 2`:        oneBar(Bar{Peer: "a", Value: 3, Low: 1, High: 2}),
	} {
		var b bytes.Buffer
		err := Write(&b, p)
		if err == nil || err.Error() != want || b.Len() > 0 {
			t.Errorf("error %v and %d bytes, want %s", err, b.Len(), want)
		}
	}
}

// draw returns the picture of p, which can be drawn.
func draw(t *testing.T, p Picture) []byte {
	t.Helper()
	picture, err := p.SVG()
	if err != nil {
		t.Fatal(err)
	}
	checkPicture(t, picture)
	return picture
}

func TestWhatIsOddIsDrawn(t *testing.T) {
	huge := Point{X: 1, Y: -largest, Low: -largest, High: largest}
	for name, p := range map[string]Picture{
		"one point":            lines(axis, axis, one(Point{X: 5, Y: 5})),
		"one point, logs":      lines(logAxis, logAxis, one(Point{X: 5, Y: 5})),
		"only zeros":           lines(axis, axis, one(Point{}, Point{X: 1})),
		"nothing but 0 on log": lines(logAxis, axis, one(Point{Y: 3})),
		"limits":               lines(axis, axis, one(huge)),
		"limits, logs":         lines(logAxis, logAxis, one(Point{X: smallest, Y: smallest}, Point{X: largest, Y: largest})),
		"closer than float64":  lines(axis, axis, one(Point{X: 1e14, Y: 1}, Point{X: math.Nextafter(1e14, 1e15), Y: 1 + 1e-16})),
		"only the maximum":     Percentiles{Title: "T", Y: axis, Series: one(Point{X: 100, Y: 1})},
		"only the minimum":     Percentiles{Title: "T", Y: axis, Series: one(Point{X: 0, Y: 1})},
		"all percentiles":      Percentiles{Title: "T", Y: axis, Series: one(Point{X: 0, Y: 1}, Point{X: lastNine, Y: 2}, Point{X: 100, Y: 3})},
		"bars of 0":            oneBar(Bar{Peer: "a"}),
		"no valid UTF-8":       oneBar(Bar{Peer: "\xff\x00", Value: 1}),
	} {
		t.Run(name, func(t *testing.T) { draw(t, p) })
	}
}

func TestMoreLinesThanLabelsHaveRoomFor(t *testing.T) {
	var all []Series
	for i := range 26 {
		all = append(all, Series{Peer: "peer " + string(rune('a'+i)), Points: []Point{{X: 1, Y: float64(i)}}})
	}
	words := texts(t, draw(t, lines(axis, axis, all)))
	for _, s := range all {
		if n := len(slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w != s.Peer })); n != 1 {
			t.Errorf("%q stands there %d times, want once, in the legend", s.Peer, n)
		}
	}
}

func TestNamesAreEscaped(t *testing.T) {
	const name = `a <b> & "c"`
	picture := draw(t, Lines{
		Title: name, Subtitle: name, X: Axis{Label: name}, Y: Axis{Label: name, Unit: "<"},
		Series: []Series{{Peer: name, Points: []Point{{X: 1, Y: 1}}}, {Peer: "b", Points: []Point{{X: 1, Y: 1}}}},
	})
	words := texts(t, picture)
	for _, want := range []string{name, name + " (<)"} {
		if !slices.Contains(words, want) {
			t.Errorf("no text %q among %q", want, words)
		}
	}
}

// A picture in a README is an image: it can load nothing and run nothing.
func TestPicturesStandAlone(t *testing.T) {
	for name, p := range examples {
		text := strings.Replace(string(draw(t, p)), `xmlns="http://www.w3.org/2000/svg"`, "", 1)
		for _, word := range []string{"http", "url(", "@import", "href", "<script", "<foreignObject", "transform"} {
			if strings.Contains(text, word) {
				t.Errorf("%s has %q", name, word)
			}
		}
	}
}

func TestPicturesAreDescribedInWords(t *testing.T) {
	elements := decode(t, draw(t, Lines{
		Title: "T", Subtitle: "S.", X: axis, Y: Axis{Label: "latency", Unit: "ms"},
		Series: one(Point{X: 0, Y: 1.25}, Point{X: 2000, Y: 91234}),
	}))
	root, title, description := elements[0], elements[1], elements[2]
	if root.name != "svg" || root.attrs["role"] != "img" ||
		root.attrs["aria-labelledby"] != title.attrs["id"]+" "+description.attrs["id"] {
		t.Errorf("<%s %v> with title %v and description %v", root.name, root.attrs, title.attrs, description.attrs)
	}
	want := "S. Lines of latency (ms) over load. a: 1.25 ms at 0, 91.2k ms at 2.00k."
	if title.name != "title" || title.text != "T" || description.name != "desc" || description.text != want {
		t.Errorf("<%s>%s, <%s>%s, want %s", title.name, title.text, description.name, description.text, want)
	}
}

func TestDescriptions(t *testing.T) {
	many := Series{Peer: "b"}
	for i := range 20 {
		many.Points = append(many.Points, Point{X: float64(i), Y: float64(10 - i%7)})
	}
	for _, test := range []struct {
		got, want string
	}{
		{describe([]Series{many}, seconds, "%"), " b: 10.0 % at 0 s, 5.00 % at 19.0 s, between 4.00 and 10.0 %."},
		{describe(one(Point{X: 99.9, Y: 1}, Point{X: 100, Y: 2}), percent, ""), " a: 1.00 at 99.9%, 2.00 at max."},
		{
			Bars{Label: "ratio", Unit: "x", Groups: []Group{{Name: "g", Bars: []Bar{
				{Peer: "a", Value: 1, Low: 0.5, High: 2}, {Peer: "b", Value: 3}, {Peer: "c", Missing: "too noisy"},
			}}}}.description(),
			"Bars of ratio (x). g: a 1.00 (0.50 to 2.00), b 3.00, c too noisy.",
		},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestMissingFiguresAreTold(t *testing.T) {
	elements := decode(t, draw(t, Bars{Title: "T", Label: "ratio", Groups: []Group{{Name: "g", Bars: []Bar{
		{Peer: "a", Value: 1.234}, {Peer: "b", Missing: "too noisy"},
	}}}}))
	bars := 0
	var words []string
	for _, e := range elements {
		if e.name == "rect" && e.attrs["class"] == "bar" {
			bars++
		}
		if e.name == "text" && strings.HasSuffix(e.attrs["class"], "halo") {
			words = append(words, e.text)
		}
	}
	if want := []string{"g", "1.23", "too noisy"}; bars != 1 || !slices.Equal(words, want) {
		t.Errorf("%d bars, %q, want 1, %q", bars, words, want)
	}
}

func TestFiguresStandClearOfTheReference(t *testing.T) {
	elements := decode(t, draw(t, Bars{Title: "T", Label: "ratio", Reference: 1, Groups: []Group{{Name: "g", Bars: []Bar{
		{Peer: "a", Value: 0.96}, {Peer: "b", Value: 0.985, Low: 0.9, High: 0.99}, {Peer: "c", Value: 1}, {Peer: "d", Value: 0.5},
	}}}}))
	var line box
	for _, e := range elements {
		if e.attrs["class"] == "reference" {
			line, _ = e.bounds(t)
		}
	}
	for _, e := range elements {
		b, _ := e.bounds(t)
		if e.attrs["class"] == "value halo" && b.left-1 < line.left && line.left < b.right+1 {
			t.Errorf("%s at %v runs through the reference at %v", e.text, b, line)
		}
	}
}

// The figures end where the whiskers do, and never lie on them.
func TestFiguresStandClearOfWhiskers(t *testing.T) {
	elements := decode(t, draw(t, oneBar(Bar{Peer: "a", Value: 1, Low: 0.5, High: 1.9})))
	var whisker, figure box
	for _, e := range elements {
		switch e.attrs["class"] {
		case "spread":
			whisker, _ = e.bounds(t)
		case "value halo":
			figure, _ = e.bounds(t)
		}
	}
	if figure.left <= whisker.right {
		t.Errorf("the figure at %v begins before the whisker at %v ends", figure, whisker)
	}
}
