package chart

import (
	"fmt"
	"strings"
)

const (
	width = 720.0
	pad   = 24.0 // between the card's edge and what is on it
)

// frame is a card with its headings; charts draw below them.
type frame struct {
	canvas
	*palette
	title, subtitle string
	y               float64 // below what has been drawn so far
}

// newFrame begins a picture in which peers appear.
func newFrame(title, subtitle string, peers []string) *frame {
	f := &frame{palette: newPalette(peers), title: title, subtitle: subtitle, y: pad}
	for _, line := range wrap(title, titleFont, width-2*pad) {
		f.text("title", start, pad, f.y+15, line)
		f.y += 23
	}
	for _, line := range wrap(subtitle, textFont, width-2*pad) {
		f.text("muted", start, pad, f.y+12, line)
		f.y += 18
	}
	return f
}

// legend draws the key of all peers in as many rows as it needs. A single peer
// needs none: the headings name it.
func (f *frame) legend() {
	const sample, row = 26.0, 20.0
	if len(f.names) < 2 {
		return
	}
	x, y := pad, f.y+18
	for _, name := range f.names {
		label := truncate(name, textFont, width-2*pad-sample-8)
		item := sample + 8 + textWidth(label, textFont)
		if x > pad && x+item > width-pad {
			x, y = pad, y+row
		}
		f.group(f.classes[name], func() {
			f.stroke(name, fmt.Sprintf("M%s %sL%s %s", num(x), num(y-4), num(x+sample), num(y-4)))
			f.mark(f.looks[name].marker, x+sample/2, y-4)
		})
		f.text("name", start, x+sample+8, y, label)
		x += item + 20
	}
	f.y = y + 6
}

// stroke draws a peer's line along the path d.
func (f *frame) stroke(name, d string) {
	dash := ""
	if pattern := f.looks[name].dash; pattern != "" {
		dash = fmt.Sprintf(` stroke-dasharray="%s"`, pattern)
	}
	f.printf(`<path class="line"%s d="%s"/>`, dash, d)
}

// finish returns the picture, which ends at f.y, with a description in words
// for those who do not see it.
func (f *frame) finish(description string) []byte {
	var c canvas
	w, h := num(width), num(f.y+pad-6)
	c.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="0 0 %s %s" role="img" aria-labelledby="title desc">`, w, h, w, h)
	c.printf(`<title id="title">%s</title>`, escape(f.title))
	if f.subtitle != "" {
		description = f.subtitle + " " + description
	}
	c.printf(`<desc id="desc">%s</desc>`, escape(description))
	c.printf("<style>\n%s</style>", f.style())
	c.rect("card", 0.5, 0.5, width-1, f.y+pad-7, 8)
	c.body.Write(f.body.Bytes())
	c.printf(`</svg>`)
	return c.body.Bytes()
}

// theme is the colours of the card.
type theme struct{ card, edge, text, muted, axis, grid string }

var (
	lightTheme = theme{card: "#ffffff", edge: "#d1d9e0", text: "#1f2328", muted: "#59636e", axis: "#818b98", grid: "#e7ebef"}
	darkTheme  = theme{card: "#0d1117", edge: "#3d444d", text: "#f0f6fc", muted: "#9198a1", axis: "#6e7681", grid: "#232a33"}
)

const shapes = `text{font-family:-apple-system,BlinkMacSystemFont,"Segoe UI","Noto Sans",Helvetica,Arial,sans-serif;font-size:12px;font-variant-numeric:tabular-nums}
.title{font-size:17px;font-weight:600}
.head{font-weight:600}
.missing{font-style:italic}
.halo{paint-order:stroke;stroke-width:4px;stroke-linejoin:round}
.grid,.axis,.line,.lead,.whisker,.reference,.spread,.rim{fill:none}
.line{stroke:currentColor;stroke-width:2;stroke-linejoin:round}
.lead{stroke:currentColor;opacity:.7}
.whisker{stroke:currentColor;stroke-width:1.2;opacity:.8}
.band{fill:currentColor;opacity:.14}
.bar{fill:currentColor}
.mark{fill:currentColor}
.ring{stroke:currentColor;stroke-width:2}
.rim{stroke-width:3.5;stroke-linecap:square}
.reference{stroke-width:1.5;stroke-dasharray:5 3}
`

// style returns the rules of the picture. They avoid custom properties, which
// not every renderer of SVG knows.
func (f *frame) style() string {
	var b strings.Builder
	b.WriteString(shapes)
	f.colours(&b, lightTheme, func(l look) string { return l.light })
	b.WriteString("@media (prefers-color-scheme:dark){\n")
	f.colours(&b, darkTheme, func(l look) string { return l.dark })
	b.WriteString("}\n")
	return b.String()
}

func (f *frame) colours(b *strings.Builder, t theme, colour func(look) string) {
	fmt.Fprintf(b, ".card{fill:%s;stroke:%s}\n", t.card, t.edge)
	fmt.Fprintf(b, "text{fill:%s}\n.muted,.tick,.missing{fill:%s}\n", t.text, t.muted)
	fmt.Fprintf(b, ".halo,.rim{stroke:%s}\n.mark{stroke:%s}\n.ring{fill:%s}\n", t.card, t.card, t.card)
	fmt.Fprintf(b, ".grid{stroke:%s}\n.axis{stroke:%s}\n.reference,.spread{stroke:%s}\n", t.grid, t.axis, t.text)
	for _, name := range f.names {
		fmt.Fprintf(b, ".%s{color:%s}\n", f.classes[name], colour(f.looks[name]))
	}
}
