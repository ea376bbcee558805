package chart

import (
	"errors"
	"fmt"
	"strings"
)

// Bars is a chart of horizontal bars in groups. Each bar has its peer's name
// before it, so there is no legend to look things up in.
type Bars struct {
	Title, Subtitle string
	Label, Unit     string // of the axis
	Groups          []Group
	// Reference, if not 0, draws a line at that value, as at 1 for ratios, with
	// ReferenceLabel above it.
	Reference      float64
	ReferenceLabel string
}

// Group is the bars of one scenario.
type Group struct {
	Name string
	Bars []Bar
}

// Bar is one peer's figure, at least 0, with the spread of its samples as in
// Point. Where there is no figure, Missing says why, "too noisy" or "–", and
// stands instead of the bar.
type Bar struct {
	Peer             string
	Value, Low, High float64
	Missing          string
}

// SVG returns the picture.
func (b Bars) SVG() ([]byte, error) {
	if err := checkHead(b.Title, b.axis()); err != nil {
		return nil, err
	}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("chart: %q: %w", b.Title, err)
	}
	var names []string
	for _, g := range b.Groups {
		for _, bar := range g.Bars {
			names = append(names, bar.Peer)
		}
	}
	f := newFrame(b.Title, b.Subtitle, names)
	b.draw(f)
	return f.finish(b.description()), nil
}

func (b Bars) axis() Axis { return Axis{Label: b.Label, Unit: b.Unit} }

func (b Bars) check() error {
	if len(b.Groups) == 0 {
		return errors.New("no groups")
	}
	if err := checkFigure("Reference", b.Reference, false); err != nil {
		return err
	}
	if b.Reference < 0 {
		return fmt.Errorf("a reference of %v, where bars begin at 0", b.Reference)
	}
	figures := 0
	for _, g := range b.Groups {
		if blank(g.Name) {
			return errors.New("a group has no name")
		}
		if len(g.Bars) == 0 {
			return fmt.Errorf("group %q: no bars", g.Name)
		}
		seen := make(map[string]bool)
		for _, bar := range g.Bars {
			if err := checkPeer(bar.Peer, seen); err != nil {
				return fmt.Errorf("group %q: %w", g.Name, err)
			}
			if bar.Missing != "" {
				continue
			}
			figures++
			if err := bar.check(); err != nil {
				return fmt.Errorf("group %q: bar %q: %w", g.Name, bar.Peer, err)
			}
		}
	}
	if figures == 0 {
		return errors.New("no bar has a figure")
	}
	return nil
}

func (b Bar) check() error {
	if err := checkFigure("Value", b.Value, false); err != nil {
		return err
	}
	if err := checkSpread(b.Value, b.Low, b.High, false); err != nil {
		return err
	}
	if b.Value < 0 || b.Low < 0 {
		return fmt.Errorf("%v, where bars begin at 0", min(b.Value, b.Low))
	}
	return nil
}

func (b Bar) hasSpread() bool { return b.Low != 0 || b.High != 0 }

const (
	barPitch   = 21.0 // of the rows
	barHeight  = 13.0
	groupHead  = 22.0
	groupSpace = 14.0 // between a group's last row and the next head
)

func (b Bars) draw(f *frame) {
	a := area{top: f.y + 14}
	a.left, a.right = b.columns()
	if b.Reference != 0 && b.ReferenceLabel != "" {
		a.top += 20
	}
	a.x = linear(b.span(), a.left, a.right, beside(44))
	// All bars lie below the reference, which shows where in them it is, and
	// all labels above it, which are to be read.
	a.bottom = a.top
	for _, g := range b.Groups {
		a.bottom = b.drawGroup(f, a, g, a.bottom) + groupSpace
	}
	a.bottom -= groupSpace
	b.drawReference(f, a)
	y := a.top
	for _, g := range b.Groups {
		y = b.labelGroup(f, a, g, y) + groupSpace
	}
	for _, t := range a.x.ticks {
		f.text("tick", middle, a.x.at(t.value), a.bottom+16, t.label)
	}
	f.text("muted", middle, (a.left+a.right)/2, a.bottom+36, truncate(b.axis().title(), textFont, a.right-a.left))
	f.y = a.bottom + 40
}

// drawGroup draws a group that begins at y, without its words, and returns where
// it ends. The gridlines leave out its head.
func (b Bars) drawGroup(f *frame, a area, g Group, y float64) float64 {
	y += groupHead
	bottom := y + barPitch*float64(len(g.Bars)) + 2
	for _, t := range a.x.ticks {
		f.line("grid", a.x.at(t.value), y, a.x.at(t.value), bottom)
	}
	for i, bar := range g.Bars {
		if bar.Missing != "" {
			continue
		}
		top := y + barPitch*float64(i) + (barPitch-barHeight)/2
		f.group(f.classes[bar.Peer], func() {
			f.rect("bar", a.left, top, a.x.at(bar.Value)-a.left, barHeight, 0)
		})
	}
	f.line("axis", a.left, y, a.left, bottom)
	return bottom
}

// labelGroup writes the words of a group that begins at y, draws the whiskers,
// which figures stand clear of, and returns where it ends.
func (b Bars) labelGroup(f *frame, a area, g Group, y float64) float64 {
	f.text("head halo", start, pad, y+15, truncate(g.Name, boldFont, width-2*pad))
	y += groupHead
	for _, bar := range g.Bars {
		base := y + barPitch/2 + 4
		f.text("name", end, a.left-10, base, truncate(bar.Peer, textFont, labelWidest))
		if bar.Missing != "" {
			f.text("missing halo", start, a.left+7, base, truncate(bar.Missing, textFont, a.right-a.left))
		} else {
			x := a.x.at(bar.Value)
			if bar.hasSpread() {
				x = a.x.at(bar.High)
				f.barSpread(a.x.at(bar.Low), x, y+barPitch/2)
			}
			f.text("value halo", start, b.labelAt(a, x+7, figure(bar.Value)), base, figure(bar.Value))
		}
		y += barPitch
	}
	return y + 2
}

// labelAt returns where a label that would begin at x does: after the reference
// if that would run through it.
func (b Bars) labelAt(a area, x float64, label string) float64 {
	const clear = 5
	reference := a.x.at(b.Reference)
	if b.Reference != 0 && x-clear < reference && reference < x+textWidth(label, textFont)+clear {
		return reference + clear
	}
	return x
}

// barSpread draws a whisker along a bar, with a rim that sets it off from the
// bar whatever colour that is. One that would be but a blot is left out.
func (f *frame) barSpread(low, high, y float64) {
	if high-low < 2 {
		return
	}
	lines := [][4]float64{{low, y, high, y}, {low, y - 3, low, y + 3}, {high, y - 3, high, y + 3}}
	f.segments("rim", lines...)
	f.segments("spread", lines...)
}

// columns returns where the bars begin, after the names, and where the axis
// ends, before the room of the labels.
func (b Bars) columns() (left, right float64) {
	names, values := 0.0, 24.0
	for _, g := range b.Groups {
		for _, bar := range g.Bars {
			names = max(names, textWidth(truncate(bar.Peer, textFont, labelWidest), textFont))
			values = max(values, textWidth(figure(bar.Value), textFont))
		}
	}
	return pad + names + 10, width - pad - values - 8
}

func (b Bars) span() span {
	d := span{0, b.Reference}
	for _, g := range b.Groups {
		for _, bar := range g.Bars {
			if bar.Missing == "" {
				d.add(bar.Value)
				d.add(bar.High)
			}
		}
	}
	return d
}

func (b Bars) drawReference(f *frame, a area) {
	if b.Reference == 0 {
		return
	}
	x := a.x.at(b.Reference)
	f.line("reference", x, a.top-2, x, a.bottom)
	label := truncate(b.ReferenceLabel, textFont, width-2*pad)
	half := textWidth(label, textFont) / 2
	f.text("muted", middle, min(max(x, pad+half), width-pad-half), a.top-8, label)
}

func (b Bars) description() string {
	var s strings.Builder
	fmt.Fprintf(&s, "Bars of %s.", b.axis().title())
	for _, g := range b.Groups {
		fmt.Fprintf(&s, " %s:", g.Name)
		for i, bar := range g.Bars {
			if i > 0 {
				s.WriteString(",")
			}
			switch {
			case bar.Missing != "":
				fmt.Fprintf(&s, " %s %s", bar.Peer, bar.Missing)
			case bar.hasSpread():
				fmt.Fprintf(&s, " %s %s (%s to %s)", bar.Peer, figure(bar.Value), figure(bar.Low), figure(bar.High))
			default:
				fmt.Fprintf(&s, " %s %s", bar.Peer, figure(bar.Value))
			}
		}
		s.WriteString(".")
	}
	return s.String()
}
