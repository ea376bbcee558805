package top

import (
	"slices"
	"strings"

	"l4proxy/internal/term"
)

// column is a column of a list.
type column[T any] struct {
	term.Column
	// width is what its values usually take at most, so that it does not jump.
	width int
	cell  func(*T) term.Cell
	// compare orders items when the list is sorted by this column: first those that are wanted on
	// top. nil: it cannot be sorted by it.
	compare func(a, b *T) int
}

// list is a table that is filtered, sorted and scrolled. It lays out only what is visible.
type list[T any] struct {
	columns []column[T]
	key     func(*T) string // identifies an item from one sample to the next
	text    func(*T) string // is what the filter searches
	only    func(*T) bool   // nil, or what is shown at all

	all    []T
	filter string
	sort   int  // a column; -1 is the order of the configuration
	always bool // it is sorted by a column at any time
	back   bool

	shown    []int // indexes of all
	selected string
	cursor   int // index of shown
	offset   int // the first row on the screen
	rows     int // how many rows the screen has
	natural  []int
}

// set replaces the items. The selection stays on its item.
func (l *list[T]) set(items []T) {
	l.all = items
	l.natural = l.natural[:0]
	for _, c := range l.columns {
		width := max(c.width, term.Width(c.Head))
		if c.width == 0 { // a text: as wide as its widest, so that it does not jump when scrolling
			for i := range items {
				width = max(width, term.Width(c.cell(&items[i]).Text))
			}
		}
		l.natural = append(l.natural, width)
	}
	l.refresh()
}

// refresh filters and sorts again.
func (l *list[T]) refresh() {
	l.shown = l.shown[:0]
	filter := strings.ToLower(l.filter)
	for i := range l.all {
		item := &l.all[i]
		if (l.only == nil || l.only(item)) && (filter == "" || strings.Contains(strings.ToLower(l.text(item)), filter)) {
			l.shown = append(l.shown, i)
		}
	}
	if l.sort >= 0 {
		compare := l.columns[l.sort].compare
		slices.SortStableFunc(l.shown, func(a, b int) int { return compare(&l.all[a], &l.all[b]) })
	}
	if l.back {
		slices.Reverse(l.shown)
	}
	if i := slices.IndexFunc(l.shown, func(i int) bool { return l.key(&l.all[i]) == l.selected }); i >= 0 {
		l.cursor = i
	}
	l.move(0)
}

// move moves the cursor.
func (l *list[T]) move(by int) {
	l.cursor = max(0, min(l.cursor+by, len(l.shown)-1))
	if item := l.current(); item != nil {
		l.selected = l.key(item)
	}
}

// current is the selected item; nil if the list is empty.
func (l *list[T]) current() *T {
	if len(l.shown) == 0 {
		return nil
	}
	return &l.all[l.shown[l.cursor]]
}

// sortNext sorts by the next column that can be sorted by. After the last comes the order of the
// configuration, unless it is always sorted by a column.
func (l *list[T]) sortNext() {
	for {
		l.sort++
		if l.sort == len(l.columns) {
			l.sort = -1
		}
		if l.sort < 0 && !l.always || l.sort >= 0 && l.columns[l.sort].compare != nil {
			break
		}
	}
	l.back = false
	l.refresh()
}

func (l *list[T]) reverse() {
	l.back = !l.back
	l.refresh()
}

func (l *list[T]) setFilter(text string) {
	l.filter = text
	l.refresh()
}

func (l *list[T]) filtered() string { return l.filter }

// count is how many items are shown, and how many there are.
func (l *list[T]) count() (shown, all int) { return len(l.shown), len(l.all) }

// window is which of the items that are shown are on the screen, counted from 1.
func (l *list[T]) window() (first, last int) {
	return min(l.offset+1, len(l.shown)), min(l.offset+l.rows, len(l.shown))
}

// sortedBy names the order.
func (l *list[T]) sortedBy() string {
	text := "as configured"
	if l.sort >= 0 {
		text = "by " + l.columns[l.sort].Head
	}
	if l.back {
		text += ", reversed"
	}
	return text
}

// lines are the header and the visible rows, in height lines at most.
func (l *list[T]) lines(s term.Screen, height int) []string {
	rows := max(1, height-1)
	l.rows = rows
	l.offset = max(0, min(l.offset, l.cursor, len(l.shown)-rows))
	l.offset = max(l.offset, l.cursor-rows+1)
	visible := l.shown[l.offset:min(len(l.shown), l.offset+rows)]
	columns := make([]term.Column, len(l.columns))
	natural := slices.Clone(l.natural)
	for i, c := range l.columns {
		columns[i] = c.Column
		if len(natural) < len(l.columns) { // before the first sample
			natural = append(natural, max(c.width, term.Width(c.Head)))
		}
	}
	cells := make([][]term.Cell, len(visible))
	for row, item := range visible {
		cells[row] = make([]term.Cell, len(l.columns))
		for i, c := range l.columns {
			cell := c.cell(&l.all[item])
			cell.Text = term.Line(cell.Text)
			cells[row][i] = cell
			natural[i] = max(natural[i], term.Width(cell.Text))
		}
	}
	widths := term.Fit(columns, natural, s.Width)
	header := make([]term.Cell, len(l.columns))
	for i, c := range columns {
		header[i] = term.Cell{Text: c.Head, Tone: term.Strong}
		if i == l.sort {
			header[i].Tone = term.Good
		}
	}
	out := []string{s.Row(columns, widths, header)}
	for row := range cells {
		if l.offset+row == l.cursor {
			plain := term.Screen{}.Row(columns, widths, cells[row])
			if s.Width > 0 {
				plain = term.Pad(term.End(plain, s.Width), s.Width, false)
			}
			out = append(out, reversed(plain))
			continue
		}
		out = append(out, s.Row(columns, widths, cells[row]))
	}
	return out
}

// reversed is a text in reverse video, which is no color: the selection shows with NO_COLOR too.
func reversed(text string) string { return "\x1b[7m" + text + "\x1b[m" }
