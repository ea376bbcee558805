package term

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Printable replaces what could control a terminal or change the order of what it shows: texts may
// repeat what a server has sent. Line ends stay.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && controls(r) {
			return '?'
		}
		return r
	}, text)
}

// Line is Printable on one line.
func Line(text string) string { return strings.ReplaceAll(Printable(text), "\n", " ") }

// controls reports whether a character controls the terminal (C0, DEL, C1), ends a line, or changes
// the direction of writing (UAX #9).
func controls(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0:
		return true
	case r == 0x2028, r == 0x2029, r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// Width is the number of columns that text takes.
func Width(text string) int {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return ansi.StringWidth(text)
		}
	}
	return len(text)
}

const ellipsis = "…"

// Middle shortens text to a width by leaving out its middle: both ends of a name or an address tell
// it from others.
func Middle(text string, width int) string {
	all := Width(text)
	switch {
	case all <= width:
		return text
	case width <= 1:
		return ansi.Truncate(text, width, "")
	}
	head := width / 2
	room := width - 1 - head
	tail := ansi.TruncateLeft(text, all-room, "")
	if Width(tail) > room { // a wide character stood across the cut
		tail = ansi.TruncateLeft(text, all-room+1, "")
	}
	return ansi.Truncate(text, head, "") + ellipsis + tail
}

// End shortens text to a width by leaving out its end.
func End(text string, width int) string {
	if width <= 0 {
		return ""
	}
	return ansi.Truncate(text, width, ellipsis)
}

// Pad fills text up with spaces to a width, on its left side if right is set.
func Pad(text string, width int, right bool) string {
	space := strings.Repeat(" ", max(0, width-Width(text)))
	if right {
		return space + text
	}
	return text + space
}
