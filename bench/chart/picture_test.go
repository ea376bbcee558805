package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// box is a rectangle of a picture.
type box struct{ left, top, right, bottom float64 }

func (b box) holds(c box) bool {
	return b.left <= c.left && b.top <= c.top && c.right <= b.right && c.bottom <= b.bottom
}

func (b box) overlaps(c box) bool {
	return b.left < c.right && c.left < b.right && b.top < c.bottom && c.top < b.bottom
}

// element is an element of a picture with the text in it.
type element struct {
	name  string
	attrs map[string]string
	text  string
}

func (e element) number(t fataler, attr string) float64 {
	v, err := strconv.ParseFloat(e.attrs[attr], 64)
	if err != nil {
		t.Fatalf("<%s %s=%q>: %v", e.name, attr, e.attrs[attr], err)
	}
	return v
}

type fataler interface {
	Fatalf(format string, args ...any)
}

var point = regexp.MustCompile(`([ML])(\S+) ([^MLZ]+)`)

// bounds returns what e covers, and false if it is nothing that is drawn. Texts
// are taken to be as wide as the package does.
func (e element) bounds(t fataler) (box, bool) {
	switch e.name {
	case "rect":
		x, y := e.number(t, "x"), e.number(t, "y")
		return box{x, y, x + e.number(t, "width"), y + e.number(t, "height")}, true
	case "circle":
		x, y, r := e.number(t, "cx"), e.number(t, "cy"), e.number(t, "r")
		return box{x - r, y - r, x + r, y + r}, true
	case "text":
		f := textFont
		switch class := e.attrs["class"]; {
		case class == "title":
			f = titleFont
		case strings.HasPrefix(class, "head"):
			f = boldFont
		}
		x, y, w := e.number(t, "x"), e.number(t, "y"), textWidth(e.text, f)
		x -= map[string]float64{"start": 0, "middle": w / 2, "end": w}[e.attrs["text-anchor"]]
		return box{x, y - 0.75*f.size, x + w, y + 0.25*f.size}, true
	case "path":
		var xs, ys []float64
		for _, m := range point.FindAllStringSubmatch(e.attrs["d"], -1) {
			x, errX := strconv.ParseFloat(m[2], 64)
			y, errY := strconv.ParseFloat(m[3], 64)
			if err := errors.Join(errX, errY); err != nil {
				t.Fatalf("d=%q: %v", e.attrs["d"], err)
			}
			xs, ys = append(xs, x), append(ys, y)
		}
		if len(xs) == 0 {
			t.Fatalf("d=%q has no points", e.attrs["d"])
		}
		b := box{xs[0], ys[0], xs[0], ys[0]}
		for i := range xs {
			b = box{min(b.left, xs[i]), min(b.top, ys[i]), max(b.right, xs[i]), max(b.bottom, ys[i])}
		}
		return b, true
	}
	return box{}, false
}

// decode returns the elements of a picture, the root first, in the order in
// which they begin. It fails t where the picture is no well-formed XML.
func decode(t fataler, picture []byte) []*element {
	var all, open []*element
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
			e := &element{name: token.Name.Local, attrs: make(map[string]string)}
			for _, a := range token.Attr {
				e.attrs[a.Name.Local] = a.Value
			}
			all, open = append(all, e), append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(token)
			}
		}
	}
}

// texts returns what stands in the picture, without title and description.
func texts(t fataler, picture []byte) []string {
	var all []string
	for _, e := range decode(t, picture) {
		if e.name == "text" {
			all = append(all, e.text)
		}
	}
	return all
}

// viewBox returns the box of a picture's root.
func viewBox(t fataler, root *element) box {
	fields := strings.Fields(root.attrs["viewBox"])
	if len(fields) != 4 || fields[0] != "0" || fields[1] != "0" ||
		fields[2] != root.attrs["width"] || fields[3] != root.attrs["height"] {
		t.Fatalf("viewBox %q, width %s, height %s", fields, root.attrs["width"], root.attrs["height"])
	}
	return box{0, 0, root.number(t, "width"), root.number(t, "height")}
}

func TestPicturesOfRandomData(t *testing.T) {
	for name, draw := range map[string]func(*rapid.T) Picture{
		"lines": drawLines, "bars": drawBars, "percentiles": drawPercentiles, "timeline": drawTimeline,
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				p := draw(t)
				picture, err := p.SVG()
				if err != nil {
					t.Fatal(err)
				}
				again, err := p.SVG()
				if err != nil || !bytes.Equal(picture, again) {
					t.Fatalf("the same data drawn again: another picture, error %v", err)
				}
				checkPicture(t, picture)
			})
		})
	}
}

// checkPicture fails t unless all of a picture lies in its view box and no two
// texts overlap.
func checkPicture(t fataler, picture []byte) {
	elements := decode(t, picture)
	view := viewBox(t, elements[0])
	if view.right != width {
		t.Fatalf("%v wide", view.right)
	}
	var words []box
	for _, e := range elements {
		b, ok := e.bounds(t)
		if !ok {
			continue
		}
		if !view.holds(b) {
			t.Fatalf("<%s %v> %q: %v is not in %v", e.name, e.attrs, e.text, b, view)
		}
		if e.name != "text" {
			continue
		}
		for _, other := range words {
			if b.overlaps(other) {
				t.Fatalf("%q at %v overlaps the text at %v", e.text, b, other)
			}
		}
		words = append(words, b)
	}
}

// magnitudes are figures of all sizes that a picture may have.
func magnitudes() *rapid.Generator[float64] {
	return rapid.Custom(func(t *rapid.T) float64 {
		exponent := rapid.IntRange(-9, 14).Draw(t, "exponent")
		return rapid.Float64Range(1, 9.99).Draw(t, "mantissa") * math.Pow10(exponent)
	})
}

var words = rapid.OneOf(
	rapid.SampledFrom([]string{uring, epoll, "haproxy", "nginx", "tcpproxy", "direct", "routed", "dnat", "a & b < c"}),
	rapid.StringMatching(`.{1,80}`).Filter(func(s string) bool { return !blank(s) }),
)

func drawAxis(t *rapid.T) Axis {
	return Axis{Label: words.Draw(t, "label"), Unit: rapid.SampledFrom([]string{"", "ms", "<&>"}).Draw(t, "unit"), Log: rapid.Bool().Draw(t, "log")}
}

// drawSeries returns series whose X are some of xs, which increase.
func drawSeries(t *rapid.T, xs []float64, y Axis) []Series {
	peers := rapid.SliceOfNDistinct(words, 1, 10, rapid.ID[string]).Draw(t, "peers")
	var all []Series
	for _, peer := range peers {
		s := Series{Peer: peer}
		from := rapid.IntRange(0, len(xs)-1).Draw(t, "from")
		to := rapid.IntRange(from+1, len(xs)).Draw(t, "to")
		for _, x := range xs[from:to] {
			p := Point{X: x, Y: magnitudes().Draw(t, "y")}
			if !y.Log && rapid.Bool().Draw(t, "negative") {
				p.Y = -p.Y
			}
			if rapid.Bool().Draw(t, "spread") {
				p.Low, p.High = p.Y-math.Abs(p.Y)/3, p.Y+math.Abs(p.Y)/2
				p.Low, p.High = clamp(p.Low, p.Y, y), clamp(p.High, p.Y, y)
			}
			s.Points = append(s.Points, p)
		}
		all = append(all, s)
	}
	return all
}

// clamp returns v, or fallback where an axis cannot show v.
func clamp(v, fallback float64, a Axis) float64 {
	if math.Abs(v) > largest || a.Log && v < smallest {
		return fallback
	}
	return v
}

func drawXs(t *rapid.T, from []float64, some *rapid.Generator[float64]) []float64 {
	xs := slices.Clone(from)
	xs = append(xs, rapid.SliceOfN(some, 1, 20).Draw(t, "xs")...)
	slices.Sort(xs)
	return slices.Compact(xs)
}

func drawLines(t *rapid.T) Picture {
	l := Lines{Title: words.Draw(t, "title"), Subtitle: words.Draw(t, "subtitle"), X: drawAxis(t), Y: drawAxis(t), Band: rapid.Bool().Draw(t, "band")}
	var zero []float64
	if rapid.Bool().Draw(t, "zero") {
		zero = []float64{0}
	}
	l.Series = drawSeries(t, drawXs(t, zero, magnitudes()), l.Y)
	return l
}

func drawTimeline(t *rapid.T) Picture {
	tl := Timeline{Title: words.Draw(t, "title"), Subtitle: words.Draw(t, "subtitle")}
	for range rapid.IntRange(1, 4).Draw(t, "panels") {
		p := Panel{Y: drawAxis(t)}
		p.Series = drawSeries(t, drawXs(t, nil, rapid.Float64Range(0, 600)), p.Y)
		tl.Panels = append(tl.Panels, p)
	}
	return tl
}

func drawPercentiles(t *rapid.T) Picture {
	p := Percentiles{Title: words.Draw(t, "title"), Y: drawAxis(t)}
	var ends []float64
	if rapid.Bool().Draw(t, "max") {
		ends = []float64{100}
	}
	xs := drawXs(t, ends, rapid.OneOf(rapid.Float64Range(0, 99.99999), rapid.SampledFrom([]float64{50, 90, 99, 99.9, 99.99, 99.999, 99.9999, 99.99999})))
	p.Series = drawSeries(t, xs, p.Y)
	for _, s := range p.Series {
		// Percentiles never fall.
		for i := range s.Points {
			if i > 0 && s.Points[i].Y < s.Points[i-1].Y {
				s.Points[i] = Point{X: s.Points[i].X, Y: s.Points[i-1].Y}
			}
		}
	}
	return p
}

func drawBars(t *rapid.T) Picture {
	b := Bars{Title: words.Draw(t, "title"), Label: words.Draw(t, "label"), ReferenceLabel: words.Draw(t, "reference label")}
	if rapid.Bool().Draw(t, "has reference") {
		b.Reference = magnitudes().Draw(t, "reference")
	}
	for range rapid.IntRange(1, 4).Draw(t, "groups") {
		g := Group{Name: words.Draw(t, "group")}
		for _, peer := range rapid.SliceOfNDistinct(words, 1, 6, rapid.ID[string]).Draw(t, "peers") {
			bar := Bar{Peer: peer, Missing: rapid.SampledFrom([]string{"", "–", "too noisy", strings.Repeat("long ", 40)}).Draw(t, "missing")}
			bar.Value = magnitudes().Draw(t, "value")
			if rapid.Bool().Draw(t, "spread") {
				bar.Low, bar.High = bar.Value/2, min(largest, bar.Value*1.5)
			}
			g.Bars = append(g.Bars, bar)
		}
		b.Groups = append(b.Groups, g)
	}
	b.Groups[0].Bars[0].Missing = ""
	return b
}
