package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg"
	"pgregory.net/rapid"
)

const uring, epoll = "l4proxy io_uring", "l4proxy epoll"

// one returns a single panel with a single series.
func one(y Axis, points ...Point) []Panel {
	return []Panel{{Y: y, Series: []Series{{Peer: "a", Points: points}}}}
}

func TestWhatCannotBeDrawnIsAnError(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	linear, log := Axis{Label: "load"}, Axis{Label: "load", Scale: Log}
	lines := func(x Axis, panels []Panel) Picture { return Lines{Title: "T", X: x, Panels: panels} }
	bar := func(b Bar) Picture {
		b.Peer = "a"
		return Bars{Title: "T", Groups: []Group{{Name: "g", Bars: []Bar{b}}}}
	}
	for want, p := range map[string]Picture{
		`no panels`:                       lines(linear, nil),
		`panel 1: no series`:              lines(linear, append(one(linear, Point{X: 1, Y: 1}), Panel{})),
		`series "a": no points`:           lines(linear, one(linear)),
		`series "a": point 0: {X:NaN`:     lines(linear, one(linear, Point{X: nan, Y: 1})),
		`series "a": point 1: {X:2 Y:+I`:  lines(linear, one(linear, Point{X: 1, Y: 1}, Point{X: 2, Y: inf})),
		`High:+Inf} is not finite`:        lines(linear, one(linear, Point{X: 1, Y: 1, Low: 1, High: inf})),
		`point 1: x is 1 after 1`:         lines(linear, one(linear, Point{X: 1, Y: 1}, Point{X: 1, Y: 2})),
		`{X:-1 Y:1 Low:0 High:0} on a l`:  lines(log, one(linear, Point{X: -1, Y: 1})),
		`{X:1 Y:0 Low:0 High:0} on a lo`:  lines(linear, one(log, Point{X: 1})),
		`{X:1 Y:1 Low:0 High:2} on a lo`:  lines(linear, one(log, Point{X: 1, Y: 1, High: 2})),
		`3 is outside its interval 1 to`:  lines(linear, one(linear, Point{X: 1, Y: 3, Low: 1, High: 2})),
		`no percentile 101`:               lines(Axis{Scale: Percentile}, one(linear, Point{X: 101, Y: 1})),
		`no percentile -1`:                lines(Axis{Scale: Percentile}, one(linear, Point{X: -1, Y: 1})),
		`chart: "B": no bar has a figure`: Bars{Title: "B"},
		`chart: "T": no bar has a figure`: bar(Bar{Missing: "too noisy"}),
		`bar {Peer:a Value:NaN`:           bar(Bar{Value: nan}),
		`bar "a": 1 is outside its inter`: bar(Bar{Value: 1, Low: -2, High: 1}),
		`bar "a": 3 is outside its inter`: bar(Bar{Value: 3, Low: 1, High: 2}),
	} {
		picture, err := p.SVG()
		if err == nil || !strings.Contains(err.Error(), want) || picture != nil {
			t.Errorf("error %v and %d bytes, want %s", err, len(picture), want)
		}
	}
}

// The odd corners of scales: a single value, zeros, 0 on a logarithmic axis, a
// maximum without percentiles.
func TestWhatIsOddIsDrawn(t *testing.T) {
	linear, log, percentile := Axis{Label: "load"}, Axis{Label: "load", Scale: Log}, Axis{Label: "p", Scale: Percentile}
	for name, p := range map[string]Lines{
		"one point":           {X: linear, Panels: one(linear, Point{X: 5, Y: 5})},
		"one point, logs":     {X: log, Panels: one(log, Point{X: 5, Y: 5})},
		"only zeros":          {X: linear, Panels: one(linear, Point{}, Point{X: 1})},
		"only 0 on log":       {X: log, Panels: one(linear, Point{Y: 3})},
		"0 and one on log":    {X: log, Panels: one(linear, Point{Y: 3}, Point{X: 10, Y: 3})},
		"below 0":             {X: linear, Panels: one(linear, Point{X: -4, Y: -3}, Point{X: 4, Y: 3})},
		"only the maximum":    {X: percentile, Panels: one(linear, Point{X: 100, Y: 1})},
		"only the minimum":    {X: percentile, Panels: one(linear, Point{X: 0, Y: 1})},
		"all of 12 decades":   {X: log, Panels: one(log, Point{X: 1e-3, Y: 1e-3}, Point{X: 1e9, Y: 1e9})},
		"more X than ticks":   {X: linear, Panels: one(linear, manyPoints(600)...)},
		"names to be escaped": {Subtitle: `a <b> & "c"`, X: linear, Panels: []Panel{{Y: Axis{Label: "<"}, Series: []Series{{Peer: "a & b", Points: manyPoints(2)}}}}},
	} {
		p.Title = "T & T"
		t.Run(name, func(t *testing.T) { checkPicture(t, p) })
	}
}

func manyPoints(n int) []Point {
	var all []Point
	for i := range n {
		all = append(all, Point{X: float64(i), Y: float64(10 - i%7)})
	}
	return all
}

func TestPicturesOfRandomData(t *testing.T) {
	peers := rapid.SliceOfNDistinct(rapid.SampledFrom(names()), 1, len(looks), rapid.ID)
	magnitude := rapid.Custom(func(t *rapid.T) float64 {
		return rounded(rapid.Float64Range(1, 9.99).Draw(t, "mantissa")*math.Pow10(rapid.IntRange(-3, 8).Draw(t, "exponent")), 3)
	})
	figures := func(t *rapid.T) (low, y, high float64) {
		all := []float64{magnitude.Draw(t, "figure"), magnitude.Draw(t, "figure"), magnitude.Draw(t, "figure")}
		slices.Sort(all)
		return all[0], all[1], all[2]
	}
	t.Run("lines", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			scale := rapid.SampledFrom([]Scale{Linear, Log})
			l := Lines{Title: "Title", Subtitle: strings.Repeat("word ", rapid.IntRange(0, 60).Draw(t, "words")), X: Axis{Label: "x", Scale: scale.Draw(t, "x")}}
			xs := rapid.SliceOfNDistinct(magnitude, 1, 40, rapid.ID).Draw(t, "xs")
			slices.Sort(xs)
			for range rapid.IntRange(1, 3).Draw(t, "panels") {
				p := Panel{Y: Axis{Label: "y", Unit: "ms", Scale: scale.Draw(t, "y")}}
				for _, peer := range peers.Draw(t, "peers") {
					s := Series{Peer: peer}
					for _, x := range xs[:rapid.IntRange(1, len(xs)).Draw(t, "points")] {
						low, y, high := figures(t)
						s.Points = append(s.Points, Point{X: x, Y: y, Low: low, High: high})
					}
					p.Series = append(p.Series, s)
				}
				l.Panels = append(l.Panels, p)
			}
			checkPicture(t, l)
		})
	})
	t.Run("bars", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			b := Bars{Title: "Title", Label: "ratio", Reference: 1, ReferenceLabel: "better"}
			for i := range rapid.IntRange(1, 4).Draw(t, "groups") {
				g := Group{Name: fmt.Sprintf("group %d", i)}
				for k, peer := range peers.Draw(t, "peers") {
					if i+k > 0 && rapid.Bool().Draw(t, "missing") {
						g.Bars = append(g.Bars, Bar{Peer: peer, Missing: "too noisy"})
						continue
					}
					low, value, high := figures(t)
					g.Bars = append(g.Bars, Bar{Peer: peer, Value: value / 1e6, Low: low / 1e6, High: high / 1e6})
				}
				b.Groups = append(b.Groups, g)
			}
			checkPicture(t, b)
		})
	})
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// box is a rectangle of a picture.
type box struct{ left, bottom, right, top vg.Length }

func (b box) overlaps(c box) bool {
	return b.left < c.right && c.left < b.right && b.bottom < c.top && c.bottom < b.top
}

// words returns the texts of a picture with what they cover. It fails t where
// the picture is no well-formed XML.
func words(t fataler, picture []byte) map[box]string {
	t.Helper()
	all := make(map[box]string)
	var open *xml.StartElement
	for d := xml.NewDecoder(bytes.NewReader(picture)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, picture)
		}
		switch token := token.(type) {
		case xml.StartElement:
			open = &token
		case xml.CharData:
			if open == nil || open.Name.Local != "text" {
				continue
			}
			attrs := make(map[string]string)
			for _, a := range open.Attr {
				attrs[a.Name.Local] = a.Value
			}
			font := nameText
			if strings.Contains(attrs["style"], "font-size:17px") {
				font = titleText
			} else if strings.Contains(attrs["style"], "font-weight:bold") {
				font = headText
			}
			x, errX := strconv.ParseFloat(attrs["x"], 64)
			y, errY := strconv.ParseFloat(attrs["y"], 64)
			if err := errors.Join(errX, errY); err != nil {
				t.Fatalf("%v", err)
			}
			left, base, size := vg.Length(x), vg.Length(-y), font.Font.Size
			all[box{left, base - 0.2*size, left + font.Width(string(token)), base + 0.75*size}] = string(token)
		case xml.EndElement:
			open = nil
		}
	}
}

var viewBox = regexp.MustCompile(`viewBox="0 0 (\S+) (\S+)"`)

// checkPicture fails t unless all words of a picture lie in its view box, none
// overlaps another, and the same data drawn again are the same bytes.
func checkPicture(t fataler, p Picture) []byte {
	t.Helper()
	picture, err := p.SVG()
	if err != nil {
		t.Fatalf("%v", err)
	}
	if again, err := p.SVG(); err != nil || !bytes.Equal(picture, again) {
		t.Fatalf("the same data drawn again: another picture, error %v", err)
	}
	size := viewBox.FindSubmatch(picture)
	if size == nil {
		t.Fatalf("no view box in %.300s", picture)
	}
	w, errW := strconv.ParseFloat(string(size[1]), 64)
	h, errH := strconv.ParseFloat(string(size[2]), 64)
	if w != width || errW != nil || errH != nil {
		t.Fatalf("view box %q", size)
	}
	all := words(t, picture)
	for b, text := range all {
		if b.left < 0 || b.bottom < 0 || b.right > width || b.top > vg.Length(h) {
			t.Fatalf("%q at %v is cut off", text, b)
		}
		for other, text2 := range all {
			if other != b && b.overlaps(other) {
				t.Fatalf("%q at %v overlaps %q at %v", text, b, text2, other)
			}
		}
	}
	return picture
}

// count counts the words of a picture that are s.
func count(t *testing.T, p Picture, s string) (n int) {
	t.Helper()
	for _, text := range words(t, checkPicture(t, p)) {
		if text == s {
			n++
		}
	}
	return n
}

// Every panel names its lines, including lines that end at the same point or early.
func TestEveryLineHasALabel(t *testing.T) {
	panel := Panel{Y: Axis{Label: "y"}}
	for _, peer := range names() {
		panel.Series = append(panel.Series, Series{Peer: peer, Points: []Point{{X: 1, Y: 1}, {X: 2, Y: 2}}})
	}
	panel.Series[3].Points = panel.Series[3].Points[:1]
	p := Lines{Title: "T", X: Axis{Label: "x"}, Panels: []Panel{panel, panel}}
	for _, peer := range names() {
		if n := count(t, p, peer); n != 2 {
			t.Errorf("%q stands there %d times, want once in each panel", peer, n)
		}
	}
}

// A picture in a README is an image: it can load nothing and run nothing.
func TestPicturesStandAlone(t *testing.T) {
	picture := string(checkPicture(t, Lines{Title: "T", X: Axis{Label: "x", Scale: Log}, Panels: one(Axis{Label: "y"}, manyPoints(20)...)}))
	picture = strings.Replace(picture, `xmlns="http://www.w3.org/2000/svg"`, "", 1)
	for _, word := range []string{"http", "url(", "@import", "href", "<script", "<foreignObject"} {
		if strings.Contains(picture, word) {
			t.Errorf("the picture has %q", word)
		}
	}
}

func TestPicturesAreDescribedInWords(t *testing.T) {
	picture := string(checkPicture(t, Lines{
		Title: "T & T", Subtitle: "S.", X: Axis{Label: "load"},
		Panels: one(Axis{Label: "latency", Unit: "ms"}, Point{X: 0, Y: 1.25}, Point{X: 2000, Y: 91234}),
	}))
	for _, want := range []string{
		`role="img" aria-labelledby="title desc"`,
		`<title id="title">T &amp; T</title>`,
		`<desc id="desc">S. Lines of latency (ms) over load. a: 1.25 ms at 0, 91.2k ms at 2k.</desc>`,
	} {
		if !strings.Contains(picture, want) {
			t.Errorf("no %s in %.600s", want, picture)
		}
	}
	for want, got := range map[string]string{
		"10 % at 0, 5 % at 19, between 4 and 10 %": Series{Points: manyPoints(20)}.description(Axis{}, Axis{Unit: "%"}),
		"1 at 99.9%, 2 at max":                     Series{Points: []Point{{X: 99.9, Y: 1}, {X: 100, Y: 2}}}.description(Axis{Scale: Percentile}, Axis{}),
		"Bars of ratio. g: a 1.00 (0.50 to 2.00), c too noisy.": Bars{Label: "ratio", Groups: []Group{{Name: "g", Bars: []Bar{
			{Peer: "a", Value: 1, Low: 0.5, High: 2}, {Peer: "c", Missing: "too noisy"},
		}}}}.description(),
	} {
		if got != want {
			t.Errorf("described as %q, want %q", got, want)
		}
	}
}

// A figure is to the right of its interval and does not overlap the reference.
func TestFiguresStandClear(t *testing.T) {
	picture := checkPicture(t, Bars{Title: "T", Label: "ratio", Reference: 1, Groups: []Group{{Name: "g", Bars: []Bar{
		{Peer: uring, Value: 0.96, Low: 0.96, High: 0.96}, {Peer: epoll, Value: 0.985, Low: 0.9, High: 0.99},
		{Peer: "nginx", Value: 1.01, Low: 1.01, High: 1.01}, {Peer: "dnat", Value: 0.5, Low: 0.4, High: 1.9},
	}}}})
	at := make(map[string]box)
	for b, text := range words(t, picture) {
		at[text] = b
	}
	// Tick labels are centred on their values.
	x := func(v float64) vg.Length {
		zero, one := (at["0"].left+at["0"].right)/2, (at["1"].left+at["1"].right)/2
		return zero + (one-zero)*vg.Length(v)
	}
	for figure, behind := range map[string]float64{"0.96": 1, "0.98": 1, "1.01": 1.01, "0.50": 1.9} {
		if b, ok := at[figure]; !ok || b.left < x(behind)+4 {
			t.Errorf("%s begins at %v, want behind %v", figure, b.left, x(behind))
		}
	}
}

func TestSpread(t *testing.T) {
	for name, test := range map[string]struct{ wanted, want []vg.Length }{
		"all with room stay":    {[]vg.Length{10, 50, 90}, []vg.Length{10, 50, 90}},
		"two at one point part": {[]vg.Length{50, 50}, []vg.Length{50, 66}},
		"not below the bottom":  {[]vg.Length{-2, 3}, []vg.Length{0, 16}},
		"not above the top":     {[]vg.Length{99, 100}, []vg.Length{84, 100}},
	} {
		if got := spread(test.wanted, 16, 0, 100); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestLabelsKeepOrderAndDistance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wanted []vg.Length
		for _, y := range rapid.SliceOfN(rapid.Float64Range(50, 350), 1, 12).Draw(t, "wanted") {
			wanted = append(wanted, vg.Length(y))
		}
		slices.Sort(wanted)
		at := spread(wanted, labelPitch, 100, 300)
		for i, y := range at {
			if y < 100-1e-9 || y > 300+1e-9 || i > 0 && y-at[i-1] < labelPitch-1e-9 {
				t.Fatalf("labels at %v", at)
			}
		}
	})
}

func TestTicks(t *testing.T) {
	labels := func(low, high float64, log bool) string {
		ticks := evenTicks(low, high, 6)
		if log {
			ticks = logTicks(low, high, 8)
		}
		var all []string
		for _, tick := range ticks {
			all = append(all, tick.Label)
		}
		return strings.Join(all, " ")
	}
	for want, got := range map[string]string{
		"0 0.5 1 1.5 2 2.5 3":  labels(0, 2.92, false),
		"-5 0 5 10 15 20":      labels(-1.1, 16, false),
		"0 20k 40k 60k 80k":    labels(0, 77777, false),
		"0 0.2 0.4 0.6 0.8 1":  labels(0, 0, false),
		"0.2 0.5 1 2 5 10 20":  labels(0.21, 11.4, true),
		"0.2 0.5":              labels(0.2, 0.2, true),
		"0.01 0.1 1 10 100 1k": labels(0.011, 999, true),
		"1 2 5 10 20 50 100":   labels(1, 99, true),
	} {
		if got != want {
			t.Errorf("ticks %s, want %s", got, want)
		}
	}
}

func TestFigures(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.00123: "0.00123", 0.7249: "0.725", 16.49: "16.5", 999.9: "1k", 91234: "91.2k", 1e6: "1M", 12.2e9: "12.2G", -1500: "-1.5k",
	} {
		if got := figure(v); got != want {
			t.Errorf("figure(%v) = %s, want %s", v, got, want)
		}
	}
	if got := exact(16384); got != "16384" {
		t.Errorf("exact(16384) = %s", got)
	}
}
