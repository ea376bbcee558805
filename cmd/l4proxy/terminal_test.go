package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// startTerminal is the command terminal NAME COLUMNSxROWS PROGRAM [ARGUMENT...]: start, on a
// pseudo-terminal. waitfor NAME screen REGEXP waits for what the terminal shows.
func startTerminal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: terminal NAME COLUMNSxROWS PROGRAM [ARGUMENT...]")
	}
	var columns, rows int
	_, err := fmt.Sscanf(args[1], "%dx%d", &columns, &rows)
	ts.Check(err)
	keyboard, tty, err := newTerminal(columns, rows)
	ts.Check(err)
	c := newChild(ts, args[2:])
	c.keyboard = keyboard
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = tty, tty, tty
	c.cmd.Env = append(c.cmd.Env, "TERM=xterm-256color")
	c.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(c.cmd.Start())
	tty.Close()
	shown := &vt{cells: blank(columns, rows)}
	read := make(chan struct{})
	go func() { // until the program has ended, and no process has the terminal any more
		defer close(read)
		buffer := make([]byte, 4096)
		for {
			n, err := keyboard.Read(buffer)
			if n > 0 {
				shown.write(buffer[:n])
				c.screen.set(shown.String())
			}
			if err != nil {
				return
			}
		}
	}()
	c.wait(ts, args[0], func() {
		<-read
		keyboard.Close()
	})
}

// typeKeys is the command type NAME KEYS...: it types each, where esc, enter, down and up are keys.
func typeKeys(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: type NAME KEYS...")
	}
	special := map[string]string{"esc": "\x1b", "enter": "\r", "down": "\x1b[B", "up": "\x1b[A", "tab": "\t", "space": " ", "ctrl+c": "\x03"}
	for _, keys := range args[1:] {
		if code, ok := special[keys]; ok {
			keys = code
		}
		_, err := childOf(ts, args[0]).keyboard.WriteString(keys)
		ts.Check(err)
	}
}

// newTerminal opens a pseudo-terminal (pty(7)): the side of the user, and that of the program.
func newTerminal(columns, rows int) (user, program *os.File, err error) {
	user, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(user.Fd())
	number, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(columns)})
	}
	if err == nil {
		program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(int(number)), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		user.Close()
		return nil, nil, err
	}
	return user, program, nil
}

// vt is the screen of a terminal, as far as the view uses it: text, the cursor, erasing and
// scrolling. Colors are dropped.
type vt struct {
	cells    [][]rune
	row, col int
	// The lines from first to end scroll; all of them if both are 0.
	first, end int
	rest       []byte // of a sequence that is not complete
	parser     *ansi.Parser
	last       rune
}

func blank(columns, rows int) (cells [][]rune) {
	for range rows {
		cells = append(cells, []rune(strings.Repeat(" ", columns)))
	}
	return cells
}

// String is what the screen shows, without space at the ends of lines.
func (v *vt) String() string {
	var b strings.Builder
	for _, line := range v.cells {
		b.WriteString(strings.TrimRight(strings.ReplaceAll(string(line), "\x00", ""), " ") + "\n")
	}
	return b.String()
}

func (v *vt) write(data []byte) {
	if v.parser == nil {
		v.parser = ansi.NewParser()
	}
	data = append(v.rest, data...)
	for len(data) > 0 {
		sequence, width, n, state := ansi.DecodeSequence(data, 0, v.parser)
		if state != 0 || sequence[0] >= utf8.RuneSelf && !utf8.FullRune(data) {
			break // the rest has not come yet
		}
		v.take(sequence, width)
		data = data[n:]
	}
	v.rest = append([]byte(nil), data...)
}

func (v *vt) take(sequence []byte, width int) {
	switch {
	case width > 0:
		r, _ := utf8.DecodeRune(sequence)
		v.put(r, width)
	case ansi.HasCsiPrefix(sequence):
		v.control(v.parser.Command())
	case sequence[0] == '\n':
		if _, end := v.region(); v.row == end-1 {
			v.scroll(v.top(), 1)
		} else {
			v.move(v.row+1, v.col)
		}
	case string(sequence) == "\x1bM":
		if v.row == v.top() {
			v.scroll(v.row, -1)
		} else {
			v.move(v.row-1, v.col)
		}
	case sequence[0] == '\r':
		v.col = 0
	case sequence[0] == '\b':
		v.move(v.row, v.col-1)
	case sequence[0] == '\t':
		v.move(v.row, (v.col/8+1)*8)
	}
}

func (v *vt) put(r rune, width int) {
	if v.col+width > len(v.cells[0]) {
		v.move(v.row+1, 0)
	}
	v.cells[v.row][v.col] = r
	for i := 1; i < width; i++ {
		v.cells[v.row][v.col+i] = 0
	}
	v.col += width
	v.last = r
}

func (v *vt) move(row, col int) {
	v.row, v.col = min(max(row, 0), len(v.cells)-1), min(max(col, 0), len(v.cells[0])-1)
}

// control carries out a control sequence (console_codes(4)).
func (v *vt) control(command int) {
	count := func(i, missing int) int {
		n, _ := v.parser.Param(i, missing)
		return n
	}
	n := max(count(0, 1), 1)
	line := v.cells[v.row]
	switch command {
	case 'A':
		v.move(v.row-n, v.col)
	case 'B':
		v.move(v.row+n, v.col)
	case 'C':
		v.move(v.row, v.col+n)
	case 'D':
		v.move(v.row, v.col-n)
	case 'G', '`':
		v.move(v.row, n-1)
	case 'd':
		v.move(n-1, v.col)
	case 'H', 'f':
		v.move(n-1, max(count(1, 1), 1)-1)
	case 'b':
		for range n {
			v.put(v.last, 1)
		}
	case 'I':
		v.move(v.row, (v.col/8+n)*8)
	case 'Z':
		v.move(v.row, ((v.col+7)/8-n)*8)
	case 'X':
		erase(line[v.col:min(len(line), v.col+n)])
	case 'P':
		copy(line[v.col:], line[min(len(line), v.col+n):])
		erase(line[max(v.col, len(line)-n):])
	case '@':
		copy(line[min(len(line), v.col+n):], line[v.col:])
		erase(line[v.col:min(len(line), v.col+n)])
	case 'K':
		v.eraseLine(count(0, 0))
	case 'J':
		v.eraseScreen(count(0, 0))
	case 'L':
		v.scroll(v.row, -n)
	case 'M':
		v.scroll(v.row, n)
	case 'S':
		v.scroll(v.top(), n)
	case 'T':
		v.scroll(v.top(), -n)
	case 'r':
		v.first, v.end = n-1, count(1, len(v.cells))
		v.move(0, 0)
	}
}

// region are the lines that scroll: the first, and the one after the last.
func (v *vt) region() (first, end int) {
	if v.end <= v.first {
		return 0, len(v.cells)
	}
	return v.first, min(v.end, len(v.cells))
}

func (v *vt) top() int {
	first, _ := v.region()
	return first
}

// scroll moves the lines from one on up, or down if by is negative.
func (v *vt) scroll(from, by int) {
	_, end := v.region()
	for ; by > 0; by-- {
		copy(v.cells[from:end], v.cells[from+1:end])
		v.cells[end-1] = blank(len(v.cells[0]), 1)[0]
	}
	for ; by < 0; by++ {
		copy(v.cells[from+1:end], v.cells[from:end-1])
		v.cells[from] = blank(len(v.cells[0]), 1)[0]
	}
}

func erase(cells []rune) {
	for i := range cells {
		cells[i] = ' '
	}
}

func (v *vt) eraseLine(part int) {
	line := v.cells[v.row]
	switch part {
	case 0:
		erase(line[v.col:])
	case 1:
		erase(line[:v.col+1])
	default:
		erase(line)
	}
}

func (v *vt) eraseScreen(part int) {
	from, to := 0, len(v.cells)
	switch part {
	case 0:
		v.eraseLine(0)
		from = v.row + 1
	case 1:
		v.eraseLine(1)
		to = v.row
	}
	for _, line := range v.cells[from:to] {
		erase(line)
	}
}

func TestTerminal(t *testing.T) {
	v := &vt{cells: blank(10, 3)}
	v.write([]byte("hello\r\n\x1b[1mwor"))
	v.write([]byte("ld\x1b["))
	v.write([]byte("m\x1b[3;9H日\x1b[1;2Hi\x1b[K\x1b[2;3H\x1b[P\x1b[2X\x1b[5G!"))
	if got, want := v.String(), "hi\nwo  !\n        日\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	v = &vt{cells: blank(3, 4)}
	v.write([]byte("a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3;1H\n!\x1b[r\x1b[1;1H\x1bM?"))
	if got, want := v.String(), "?\na\nc\n!\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
