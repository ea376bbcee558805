package chart

import "strings"

// font is a text's size in user units and how much wider than the regular face
// its weight is.
type font struct{ size, weight float64 }

var (
	textFont  = font{12, 1}
	boldFont  = font{12, 1.08}
	titleFont = font{17, 1.08}
)

// textWidth returns about how wide s is drawn, at most: the fonts of the stack
// differ, and it takes the widths of DejaVu Sans, wider than all others in it,
// by classes of letters.
func textWidth(s string, f font) float64 {
	var em float64
	for _, r := range s {
		switch {
		case strings.ContainsRune(" .,:;'|!ijlI", r):
			em += 0.34
		case strings.ContainsRune("()[]/-frt\"", r):
			em += 0.41
		case strings.ContainsRune("mMwW%@", r):
			em += 0.96
		case 'A' <= r && r <= 'Z' || strings.ContainsRune("&<>=+~#÷×−", r):
			em += 0.78
		case r < 0x250:
			em += 0.64
		default:
			em++
		}
	}
	return em * f.size * f.weight
}

// wrap breaks s into lines no wider than most, between words where it can.
func wrap(s string, f font, most float64) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		longer := strings.TrimSpace(line + " " + word)
		if textWidth(longer, f) <= most {
			line = longer
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		line = truncate(word, f, most)
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// truncate returns s, cut where it is wider than most.
func truncate(s string, f font, most float64) string {
	s = strings.Join(strings.Fields(s), " ")
	if textWidth(s, f) <= most {
		return s
	}
	runes := []rune(s)
	for len(runes) > 0 && textWidth(string(runes)+"…", f) > most {
		runes = runes[:len(runes)-1]
	}
	return string(runes) + "…"
}
