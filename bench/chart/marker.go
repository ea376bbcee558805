package chart

import "math"

// marker is the shape of a peer's points.
type marker int

const (
	circle marker = iota
	ring
	square
	triangle
	diamond
	plus
	cross
	wedge // a triangle on its tip
)

// outlines are the corners of the markers that are polygons, in user units
// around the point. All markers cover about the same area.
var outlines = map[marker][][2]float64{
	square:   {{-3.4, -3.4}, {3.4, -3.4}, {3.4, 3.4}, {-3.4, 3.4}},
	triangle: {{0, -4.6}, {4.4, 3.2}, {-4.4, 3.2}},
	wedge:    {{0, 4.6}, {4.4, -3.2}, {-4.4, -3.2}},
	diamond:  {{0, -4.9}, {4.4, 0}, {0, 4.9}, {-4.4, 0}},
	plus:     crossbars(0),
	cross:    crossbars(math.Pi / 4),
}

// crossbars returns the outline of a plus sign turned by an angle.
func crossbars(angle float64) [][2]float64 {
	const long, wide = 4.8, 1.5
	sin, cos := math.Sincos(angle)
	var corners [][2]float64
	for _, c := range [][2]float64{
		{-wide, -long}, {wide, -long}, {wide, -wide}, {long, -wide}, {long, wide}, {wide, wide},
		{wide, long}, {-wide, long}, {-wide, wide}, {-long, wide}, {-long, -wide}, {-wide, -wide},
	} {
		corners = append(corners, [2]float64{c[0]*cos - c[1]*sin, c[0]*sin + c[1]*cos})
	}
	return corners
}

// mark draws a marker at x, y in the colour of the group that it is in.
func (c *canvas) mark(m marker, x, y float64) {
	switch m {
	case circle:
		c.printf(`<circle class="mark" cx="%s" cy="%s" r="3.8"/>`, num(x), num(y))
	case ring:
		c.printf(`<circle class="ring" cx="%s" cy="%s" r="3.2"/>`, num(x), num(y))
	default:
		var p path
		for _, corner := range outlines[m] {
			p.to(x+corner[0], y+corner[1])
		}
		c.printf(`<path class="mark" d="%sZ"/>`, p.String())
	}
}
