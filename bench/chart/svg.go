package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// canvas collects the elements of a picture. One user unit is a pixel where the
// picture is not scaled. Nothing is ever transformed: the coordinates in the
// file are those of the view box.
type canvas struct{ body bytes.Buffer }

func (c *canvas) printf(format string, args ...any) {
	fmt.Fprintf(&c.body, format+"\n", args...)
}

func (c *canvas) line(class string, x1, y1, x2, y2 float64) {
	c.segments(class, [4]float64{x1, y1, x2, y2})
}

func (c *canvas) rect(class string, x, y, width, height, radius float64) {
	c.printf(`<rect class="%s" x="%s" y="%s" width="%s" height="%s" rx="%s"/>`,
		class, num(x), num(y), num(width), num(height), num(radius))
}

// anchor is the part of a text that stands at its x.
type anchor string

const (
	start  anchor = "start"
	middle anchor = "middle"
	end    anchor = "end"
)

// text writes s with its baseline at y.
func (c *canvas) text(class string, a anchor, x, y float64, s string) {
	c.printf(`<text class="%s" x="%s" y="%s" text-anchor="%s">%s</text>`, class, num(x), num(y), a, escape(s))
}

// segments draws lines that do not hang together, each x1, y1, x2, y2.
func (c *canvas) segments(class string, lines ...[4]float64) {
	var d strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&d, "M%s %sL%s %s", num(l[0]), num(l[1]), num(l[2]), num(l[3]))
	}
	c.printf(`<path class="%s" d="%s"/>`, class, d.String())
}

// group draws what inside draws in a peer's colour.
func (c *canvas) group(class string, inside func()) {
	c.printf(`<g class="%s">`, class)
	inside()
	c.printf(`</g>`)
}

// path is the data of a path of straight lines.
type path struct{ strings.Builder }

func (p *path) to(x, y float64) {
	command := "L"
	if p.Len() == 0 {
		command = "M"
	}
	p.WriteString(command + num(x) + " " + num(y))
}

// num formats a coordinate to a tenth of a unit.
func num(v float64) string {
	v = math.Round(v*10) / 10
	if v == 0 {
		return "0" // not -0
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// escape returns s as XML character data, also fit for an attribute in quotes.
func escape(s string) string {
	var b strings.Builder
	// A strings.Builder does not fail.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
