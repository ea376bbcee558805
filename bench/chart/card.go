package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"

	bold "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	width = 720.0
	pad   = 24.0 // between the card's edge and what is on it
)

// The styles of text. Liberation Sans has the widths of Arial and Helvetica, so
// labels fit wherever the picture is shown.
var (
	titleText = textStyle(17, font.Font{Weight: bold.WeightBold}, ink)
	headText  = textStyle(12, font.Font{Weight: bold.WeightBold}, ink)
	nameText  = textStyle(12, font.Font{}, ink)
	mutedText = textStyle(12, font.Font{}, muted)
)

func textStyle(size vg.Length, f font.Font, s shade) text.Style {
	f.Typeface, f.Variant = "Liberation", "Sans"
	return text.Style{Color: s.light, Font: font.From(f, size), Handler: plot.DefaultTextHandler}
}

// right and centred return a style that aligns text to the left of its position, or
// around it.
func right(s text.Style) text.Style   { s.XAlign = draw.XRight; return s }
func centred(s text.Style) text.Style { s.XAlign = draw.XCenter; return s }

// sheet is a card with its headings; charts draw below them.
type sheet struct {
	svg             *vgsvg.Canvas
	title, subtitle string
	draw.Canvas     // what is left of the card
}

// newSheet returns a sheet with that room below its headings.
func newSheet(title, subtitle string, room vg.Length) *sheet {
	lines := wrap(mutedText, subtitle, width-2*pad)
	height := pad + 23 + 18*vg.Length(len(lines)) + room + pad
	s := &sheet{svg: vgsvg.New(width, height), title: title, subtitle: subtitle}
	all := draw.New(s.svg)
	border := []vg.Point{{X: 0.5, Y: 0.5}, {X: width - 0.5, Y: 0.5}, {X: width - 0.5, Y: height - 0.5}, {X: 0.5, Y: height - 0.5}, {X: 0.5, Y: 0.5}}
	all.FillPolygon(card.light, border)
	all.StrokeLines(draw.LineStyle{Color: edge.light, Width: 1}, border)
	y := height - pad - 15
	all.FillText(titleText, vg.Point{X: pad, Y: y}, title)
	for _, line := range lines {
		y -= 18
		all.FillText(mutedText, vg.Point{X: pad, Y: y}, line)
	}
	s.Canvas = draw.Crop(all, pad, -pad, pad, 0)
	s.Max.Y = pad + room
	return s
}

// wrap breaks a text into lines that fit into a width.
func wrap(style text.Style, text string, room vg.Length) []string {
	var lines []string
	for _, word := range strings.Fields(text) {
		if n := len(lines); n > 0 && style.Width(lines[n-1]+" "+word) <= room {
			lines[n-1] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// finish returns the picture with a description in words for people who do not
// see it.
func (s *sheet) finish(description string) ([]byte, error) {
	var drawn, picture bytes.Buffer
	if _, err := s.svg.WriteTo(&drawn); err != nil {
		return nil, err
	}
	// The library's root element lacks the title and the style sheet.
	_, body, found := bytes.Cut(drawn.Bytes(), []byte(`xmlns:xlink="http://www.w3.org/1999/xlink">`))
	if !found {
		return nil, fmt.Errorf("the picture %q does not begin as expected: %.200s", s.title, drawn.Bytes())
	}
	w, h := s.svg.Size()
	fmt.Fprintf(&picture, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]g" height="%[2]g" viewBox="0 0 %[1]g %[2]g" role="img" aria-labelledby="title desc">`,
		float64(w), float64(h))
	fmt.Fprintf(&picture, "\n<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n",
		escape(s.title), escape(strings.TrimSpace(s.subtitle+" "+description)))
	fmt.Fprintf(&picture, "<style>\n%s</style>", darkRules())
	picture.Write(bytes.ReplaceAll(body, []byte("font-family:Liberation Sans;"),
		[]byte("font-family:Arial,Helvetica,Liberation Sans,sans-serif;")))
	return picture.Bytes(), nil
}

// escape returns s as XML character data.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}
