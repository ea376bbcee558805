package chart

import (
	"fmt"
	"image/color"
	"maps"
	"math"
	"slices"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// look is how a peer is drawn.
type look struct {
	light, dark color.Color // on the card of a light and of a dark page
	dashes      []vg.Length // nil is solid
	glyph       glyph
}

// looks are the peers' looks by name. No two have the same glyph and dashes, so they can be
// distinguished without colour. The colours of the proxies differ under protanopia,
// deuteranopia and tritanopia too. All have a contrast of 3:1 to the card (WCAG 2.2,
// 1.4.11). Text is never in these colours.
var looks = map[string]look{
	// Ours are blue, the second engine in a lighter tint.
	"l4proxy io_uring": {light: hex(0x003dab), dark: hex(0x6da1fe), glyph: glyph{}},
	"l4proxy epoll":    {light: hex(0x4c8cd1), dark: hex(0xb3d2ff), glyph: glyph{hollow: true}, dashes: []vg.Length{7, 3}},
	"haproxy":          {light: hex(0xd67e18), dark: hex(0xf16e38), glyph: glyph{corners: 4, turn: 45}},
	"nginx":            {light: hex(0x0a783f), dark: hex(0x51d99f), glyph: glyph{corners: 3, turn: 90}},
	"tcpproxy":         {light: hex(0x893071), dark: hex(0xbe44c6), glyph: glyph{corners: 4}},
	// Ceilings, which are no proxies, are grey.
	"direct": {light: hex(0x30363d), dark: hex(0xf0f6fc), glyph: glyph{corners: 4, star: true}, dashes: []vg.Length{2, 3}},
	"routed": {light: hex(0x6e7781), dark: hex(0x9aa4ae), glyph: glyph{corners: 4, turn: 45, star: true}, dashes: []vg.Length{6, 3, 1, 3}},
	"dnat":   {light: hex(0x868e96), dark: hex(0x6e7681), glyph: glyph{corners: 3, turn: -90}, dashes: []vg.Length{4, 4}},
}

// names returns the names of all peers, in order.
func names() []string { return slices.Sorted(maps.Keys(looks)) }

// unknown is for names that are no peers.
var unknown = look{light: hex(0x0e7c86), dark: hex(0x4cc3cf), glyph: glyph{corners: 4, turn: 45, hollow: true}, dashes: []vg.Length{9, 4}}

func lookOf(peer string) look {
	if l, ok := looks[peer]; ok {
		return l
	}
	return unknown
}

// line is the style of the peer's line.
func (l look) line() draw.LineStyle {
	return draw.LineStyle{Color: l.light, Width: 1.8, Dashes: l.dashes}
}

// mark draws the peer's glyph, with a rim that separates it from what is below.
func (l look) mark(c *draw.Canvas, at vg.Point) {
	path := l.glyph.path(at)
	c.SetLineStyle(draw.LineStyle{Color: card.light, Width: 4})
	c.Stroke(path)
	c.SetLineStyle(draw.LineStyle{Color: l.light, Width: 1.8})
	switch {
	case l.glyph.hollow:
		c.SetColor(card.light)
		c.Fill(path)
		c.SetColor(l.light)
		c.Stroke(path)
	case l.glyph.star:
		c.Stroke(path)
	default:
		c.Fill(path)
	}
}

// glyph is the shape of a mark. The library's own outlines are hairlines.
type glyph struct {
	corners int     // 0 is a circle
	turn    float64 // degrees from the right to the first corner
	hollow  bool    // an outline
	star    bool    // lines from the centre to the corners
}

func (g glyph) path(at vg.Point) vg.Path {
	const radius = 4.2
	var p vg.Path
	if g.corners == 0 {
		p.Move(at.Add(vg.Point{X: radius - 0.7}))
		p.Arc(at, radius-0.7, 0, 2*math.Pi)
		p.Close()
		return p
	}
	for i := range g.corners {
		sin, cos := math.Sincos((g.turn + 360*float64(i)/float64(g.corners)) * math.Pi / 180)
		corner := at.Add(vg.Point{X: vg.Length(radius * cos), Y: vg.Length(radius * sin)})
		switch {
		case g.star:
			p.Move(at)
			p.Line(corner)
		case i == 0:
			p.Move(corner)
		default:
			p.Line(corner)
		}
	}
	if !g.star {
		p.Close()
	}
	return p
}

// shade is a colour of the card's own, on a light and on a dark page.
type shade struct{ light, dark color.Color }

// Each light colour, including those of the looks, is replaced by one dark colour.
var (
	card  = shade{hex(0xffffff), hex(0x0d1117)}
	edge  = shade{hex(0xd1d9e0), hex(0x3d444d)}
	ink   = shade{hex(0x1f2328), hex(0xf0f6fc)} // of text
	muted = shade{hex(0x59636e), hex(0x9198a1)} // of text that matters less
	axis  = shade{hex(0x818b98), hex(0x6e7681)}
	grid  = shade{hex(0xe7ebef), hex(0x232a33)}
)

func hex(rgb uint32) color.NRGBA {
	return color.NRGBA{R: uint8(rgb >> 16), G: uint8(rgb >> 8), B: uint8(rgb), A: 255}
}

// darkRules returns the style sheet that replaces light colours by dark ones. The library
// writes colours into the style attribute of each element, so the rules match that. They
// avoid custom properties, which not every renderer of SVG supports.
func darkRules() []byte {
	rules := []byte("@media (prefers-color-scheme:dark){\n")
	add := func(light, dark color.Color) {
		from, to := light.(color.NRGBA), dark.(color.NRGBA)
		for _, property := range []string{"fill", "stroke"} {
			rules = fmt.Appendf(rules, "[style*=\"%[1]s:#%02[2]X%02[3]X%02[4]X\"]{%[1]s:#%02[5]x%02[6]x%02[7]x!important}\n",
				property, from.R, from.G, from.B, to.R, to.G, to.B)
		}
	}
	for _, s := range []shade{card, edge, ink, muted, axis, grid} {
		add(s.light, s.dark)
	}
	for _, name := range names() {
		add(looks[name].light, looks[name].dark)
	}
	add(unknown.light, unknown.dark)
	return append(rules, "}\n"...)
}
