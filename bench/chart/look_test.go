package chart

import (
	"fmt"
	"image/color"
	"maps"
	"math"
	"testing"
)

// rgb are linear components of a colour (IEC 61966-2-1), from 0 to 1.
type rgb [3]float64

func linearRGB(colour color.Color) rgb {
	var c rgb
	n := colour.(color.NRGBA)
	for i, v := range []uint8{n.R, n.G, n.B} {
		s := float64(v) / 255
		if s <= 0.04045 {
			c[i] = s / 12.92
		} else {
			c[i] = math.Pow((s+0.055)/1.055, 2.4)
		}
	}
	return c
}

// contrast is the contrast ratio of WCAG 2.2.
func contrast(a, b rgb) float64 {
	luminance := func(c rgb) float64 { return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2] }
	la, lb := luminance(a), luminance(b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

// apply returns m·c within 0 to 1.
func apply(m [3]rgb, c rgb) rgb {
	var out rgb
	for i, row := range m {
		out[i] = max(0, min(1, row[0]*c[0]+row[1]*c[1]+row[2]*c[2]))
	}
	return out
}

// sights turn colours into what people see of them: all of it, or with
// protanopia, deuteranopia or tritanopia (Machado, Oliveira and Fernandes 2009,
// severity 1).
var sights = map[string][3]rgb{
	"full":         {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
	"protanopia":   {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
	"deuteranopia": {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
	"tritanopia":   {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}},
}

// oklab returns c in a space in which distances are those that people see
// (Ottosson 2020): about 0.02 can just be noticed.
func oklab(c rgb) rgb {
	lms := apply([3]rgb{{0.4122214708, 0.5363325363, 0.0514459929}, {0.2119034982, 0.6806995451, 0.1073969566}, {0.0883024619, 0.2817188376, 0.6299787005}}, c)
	l, m, s := math.Cbrt(lms[0]), math.Cbrt(lms[1]), math.Cbrt(lms[2])
	return rgb{
		0.2104542553*l + 0.7936177850*m - 0.0040720468*s,
		1.9779984951*l - 2.4285922050*m + 0.4505937099*s,
		0.0259040371*l + 0.7827717662*m - 0.8086757660*s,
	}
}

func distance(a, b rgb) float64 {
	return math.Sqrt((a[0]-b[0])*(a[0]-b[0]) + (a[1]-b[1])*(a[1]-b[1]) + (a[2]-b[2])*(a[2]-b[2]))
}

// modes are the two cards with the colours on them.
var modes = []struct {
	name  string
	look  func(look) rgb
	shade func(shade) rgb
}{
	{"light", func(l look) rgb { return linearRGB(l.light) }, func(s shade) rgb { return linearRGB(s.light) }},
	{"dark", func(l look) rgb { return linearRGB(l.dark) }, func(s shade) rgb { return linearRGB(s.dark) }},
}

func TestContrast(t *testing.T) {
	all := maps.Clone(looks)
	all["unknown"] = unknown
	for _, mode := range modes {
		for name, l := range all {
			if c := contrast(mode.look(l), mode.shade(card)); c < 3 {
				t.Errorf("%s: %s has a contrast of %.2f, want 3", mode.name, name, c)
			}
		}
		for name, s := range map[string]shade{"text": ink, "muted text": muted} {
			if c := contrast(mode.shade(s), mode.shade(card)); c < 4.5 {
				t.Errorf("%s: %s has a contrast of %.2f, want 4.5", mode.name, name, c)
			}
		}
	}
}

func TestProxiesHaveColoursThatAnybodyCanTellApart(t *testing.T) {
	names := []string{"l4proxy io_uring", "l4proxy epoll", "haproxy", "nginx", "tcpproxy", "direct", "routed", "dnat"}
	for _, mode := range modes {
		for sight, matrix := range sights {
			see := func(name string) rgb { return oklab(apply(matrix, mode.look(looks[name]))) }
			for i, a := range names[:5] {
				for _, b := range names[i+1:] {
					if d := distance(see(a), see(b)); d < 0.08 {
						t.Errorf("%s, %s: %s and %s are %.3f apart", mode.name, sight, a, b, d)
					}
				}
			}
		}
	}
}

func TestPeersCanBeToldApartWithoutColour(t *testing.T) {
	all := maps.Clone(looks)
	all["unknown"] = unknown
	seen := make(map[string]string)
	for name, l := range all {
		shape := fmt.Sprint(l.glyph, l.dashes)
		if other, ok := seen[shape]; ok {
			t.Errorf("%s looks like %s", name, other)
		}
		seen[shape] = name
	}
}

// The style sheet for dark pages replaces colours, so each must stand for one.
func TestEachLightColourHasOneDarkColour(t *testing.T) {
	seen := make(map[color.Color]color.Color)
	check := func(light, dark color.Color) {
		if other, ok := seen[light]; ok && other != dark {
			t.Errorf("%v is to become %v and %v", light, other, dark)
		}
		seen[light] = dark
	}
	for _, s := range []shade{card, edge, ink, muted, axis, grid} {
		check(s.light, s.dark)
	}
	for _, l := range looks {
		check(l.light, l.dark)
	}
	check(unknown.light, unknown.dark)
}
