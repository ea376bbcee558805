package chart

import "fmt"

// look is how a peer is drawn.
type look struct {
	light, dark string // colours on the light and on the dark card
	dash        string // stroke-dasharray; empty is solid
	marker      marker
}

// looks are the peers' looks by name. No two share their marker and dash, so
// they can be told apart without colour. The colours stay apart under
// protanopia, deuteranopia and tritanopia too, and have a contrast of 3:1 to the
// card (WCAG 2.2, 1.4.11); text is never in them.
var looks = map[string]look{
	// Ours are blue, the second engine in a lighter tint.
	"l4proxy io_uring": {light: "#003dab", dark: "#6da1fe", marker: circle},
	"l4proxy epoll":    {light: "#4c8cd1", dark: "#b3d2ff", marker: ring, dash: "7 3"},
	"haproxy":          {light: "#d67e18", dark: "#f16e38", marker: square},
	"nginx":            {light: "#0a783f", dark: "#51d99f", marker: triangle},
	"tcpproxy":         {light: "#893071", dark: "#be44c6", marker: diamond},
	// Ceilings, which are no proxies, are grey.
	"direct": {light: "#30363d", dark: "#f0f6fc", marker: plus, dash: "2 3"},
	"routed": {light: "#6e7781", dark: "#9aa4ae", marker: cross, dash: "6 3 1 3"},
	"dnat":   {light: "#868e96", dark: "#6e7681", marker: wedge, dash: "4 4"},
}

// others are for names that are no peers, in the order in which a picture
// mentions them, and again from the start when they are used up.
var others = []look{
	{light: "#0e7c86", dark: "#4cc3cf", marker: diamond, dash: "9 4"},
	{light: "#8a6100", dark: "#d9a92b", marker: square, dash: "9 4"},
	{light: "#6f42c1", dark: "#b797f5", marker: triangle, dash: "9 4"},
	{light: "#7a4a2b", dark: "#c79a7a", marker: circle, dash: "9 4"},
}

// palette holds the looks that a picture uses.
type palette struct {
	names   []string // in order of mention
	classes map[string]string
	looks   map[string]look
}

// newPalette returns the palette for names, of which some may repeat.
func newPalette(names []string) *palette {
	p := &palette{classes: make(map[string]string), looks: make(map[string]look)}
	unknown := 0
	for _, name := range names {
		if _, ok := p.classes[name]; ok {
			continue
		}
		l, ok := looks[name]
		if !ok {
			l = others[unknown%len(others)]
			unknown++
		}
		p.classes[name] = fmt.Sprintf("p%d", len(p.names))
		p.looks[name] = l
		p.names = append(p.names, name)
	}
	return p
}

func peerNames(all []Series) []string {
	names := make([]string, 0, len(all))
	for _, s := range all {
		names = append(names, s.Peer)
	}
	return names
}
