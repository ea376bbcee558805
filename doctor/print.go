package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Print writes findings for people: one block each, and the names of the checks that are fine on
// one line. With all, each of these has a line of its own.
func Print(w io.Writer, findings []Finding, all, color bool) error {
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Check))
	}
	var b strings.Builder
	var fine []string
	for _, f := range findings {
		if f.Level == OK && !all {
			fine = append(fine, f.Check)
			continue
		}
		indent := "\n" + strings.Repeat(" ", len("problem")+width+4)
		fmt.Fprintf(&b, "%s  %-*s  %s\n", painted(f.Level, color), width, f.Check, strings.ReplaceAll(f.Found, "\n", indent))
		if f.Why != "" {
			fmt.Fprintf(&b, "%s%s%s-> %s\n", indent[1:], f.Why, indent, strings.ReplaceAll(f.Do, "\n", indent+"   "))
		}
	}
	if fine != nil {
		fmt.Fprintf(&b, "%s  %s\n", painted(OK, color), wrap(fine))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// painted is the level in its color, as wide as the longest.
func painted(l Level, color bool) string {
	text := fmt.Sprintf("%-7s", l)
	if !color {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", map[Level]int{Problem: 31, Warning: 33, Note: 36, OK: 32}[l], text)
}

// wrap lists names on lines of a terminal's width.
func wrap(names []string) string {
	const most, indent = 80, len("problem") + 2
	var b strings.Builder
	at := indent
	for i, name := range names {
		if i > 0 {
			b.WriteString(",")
			if at += 2 + len(name); at > most {
				b.WriteString("\n" + strings.Repeat(" ", indent))
				at = indent + len(name)
			} else {
				b.WriteString(" ")
			}
		}
		b.WriteString(name)
	}
	return b.String()
}
