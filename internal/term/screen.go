package term

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Screen is what an output can do. The zero value is a file or a pipe.
type Screen struct {
	// Width is in columns; 0 means that lines may have any length.
	Width int
	// Color says that colors are wanted.
	Color bool
}

// ScreenOf returns what w can do. Only a terminal has a width, and colors unless NO_COLOR is set
// (https://no-color.org) or TERM is dumb or missing.
func ScreenOf(w io.Writer, env func(string) (string, bool)) Screen {
	file, ok := w.(*os.File)
	if !ok || !IsTerminal(file) {
		return Screen{}
	}
	var s Screen
	if size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ); err == nil {
		s.Width = int(size.Col) // 0 if the terminal does not know
	}
	none, _ := env("NO_COLOR")
	kind, _ := env("TERM")
	s.Color = none == "" && kind != "" && kind != "dumb"
	return s
}

// IsTerminal reports whether a file is a terminal.
func IsTerminal(file *os.File) bool {
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// Tone is the meaning of a color. The colors are the terminal's own, so they suit its background.
type Tone uint8

const (
	Plain Tone = iota
	Good       // green
	Warn       // yellow
	Bad        // red
	Faint
	Strong // bold, for headers
)

var codes = [...]string{Good: "\x1b[32m", Warn: "\x1b[33m", Bad: "\x1b[31m", Faint: "\x1b[2m", Strong: "\x1b[1m"}

// Paint gives text a tone, if the screen has colors. The text must be printable already.
func (s Screen) Paint(tone Tone, text string) string {
	if !s.Color || tone == Plain || text == "" {
		return text
	}
	return codes[tone] + text + "\x1b[m"
}

// states are the states of listeners, backends, drains and connections that have a tone.
var states = map[string]Tone{
	"up": Good, "open": Good, "ready": Good,
	"degraded": Warn, "backoff": Warn, "ejected": Warn, "drain": Warn, "draining": Warn, "full": Warn, "waiting": Warn, "queued": Warn,
	"down": Bad, "closed": Bad,
	"unknown": Faint,
}

// State is a cell with a state as the admin API names it, in the color of its meaning.
func State(state string) Cell { return Cell{state, states[state]} }
