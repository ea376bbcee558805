package term

import (
	"fmt"
	"strings"
)

// gap is the space between two columns.
const gap = 2

// Column is a column of a table. Make one with [Text] or [Number].
type Column struct {
	// Head is its header.
	Head string
	// Right aligns it on the right.
	Right bool
	// Least is the width to which it may be shortened where the screen is too narrow; 0 forbids
	// that.
	Least int
	// Drop says that it may be left out where the screen is too narrow: the highest number first;
	// 0 forbids that.
	Drop int
}

// Text is a column of words.
func Text(head string) Column { return Column{Head: head} }

// Number is a column of numbers, aligned on the right.
func Number(head string) Column { return Column{Head: head, Right: true} }

// Short lets a column be shortened in the middle, to a least width.
func (c Column) Short(least int) Column {
	c.Least = least
	return c
}

// Optional lets a column be left out, the highest number first.
func (c Column) Optional(order int) Column {
	c.Drop = order
	return c
}

// Cell is a text with a tone.
type Cell struct {
	Text string
	Tone Tone
}

// Table is a table of cells under bold headers.
type Table struct {
	columns []Column
	rows    [][]Cell
}

// NewTable returns an empty table.
func NewTable(columns ...Column) *Table { return &Table{columns: columns} }

// Row adds a row with one value for each column: a [Cell], or anything that fmt prints. Control
// characters are replaced.
func (t *Table) Row(values ...any) {
	if len(values) != len(t.columns) {
		panic(fmt.Sprintf("a row of %d values in a table of %d columns", len(values), len(t.columns)))
	}
	row := make([]Cell, len(values))
	for i, v := range values {
		cell, ok := v.(Cell)
		if !ok {
			cell.Text = fmt.Sprint(v)
		}
		cell.Text = Line(cell.Text)
		row[i] = cell
	}
	t.rows = append(t.rows, row)
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// String is the table as a file has it.
func (t *Table) String() string { return t.Render(Screen{}) }

// Render lays the table out for a screen. Each line ends with a line end, and has no space before
// it.
func (t *Table) Render(s Screen) string {
	natural := make([]int, len(t.columns))
	for i, c := range t.columns {
		natural[i] = Width(c.Head)
		for _, row := range t.rows {
			natural[i] = max(natural[i], Width(row[i].Text))
		}
	}
	widths := Fit(t.columns, natural, s.Width)
	var b strings.Builder
	header := make([]Cell, len(t.columns))
	for i, c := range t.columns {
		header[i] = Cell{c.Head, Strong}
	}
	b.WriteString(s.Row(t.columns, widths, header) + "\n")
	for _, row := range t.rows {
		b.WriteString(s.Row(t.columns, widths, row) + "\n")
	}
	return b.String()
}

// Row lays one row out, without the space after its last text. widths come from [Fit].
func (s Screen) Row(columns []Column, widths []int, row []Cell) string {
	var b strings.Builder
	space := 0
	for i, cell := range row {
		if widths[i] < 0 {
			continue
		}
		text := Middle(cell.Text, widths[i])
		missing := max(0, widths[i]-Width(text))
		if columns[i].Right {
			space += missing
		}
		if text != "" {
			b.WriteString(strings.Repeat(" ", space))
			b.WriteString(s.Paint(cell.Tone, text))
			space = 0
		}
		if !columns[i].Right {
			space += missing
		}
		space += gap
	}
	return b.String()
}

// Fit returns the widths of columns on a screen of that width, -1 for a column that is left out.
// natural are the widths that they would like to have. A width of 0 is no limit. First, columns are
// shortened, the widest first, then left out. What is too wide even then stays too wide.
func Fit(columns []Column, natural []int, width int) []int {
	widths := make([]int, len(natural))
	copy(widths, natural)
	if width <= 0 {
		return widths
	}
	for {
		copyKept(widths, natural)
		over := total(widths) - width
		for ; over > 0; over-- {
			widest := -1
			for i, c := range columns {
				if c.Least > 0 && widths[i] > c.Least && (widest < 0 || widths[i] > widths[widest]) {
					widest = i
				}
			}
			if widest < 0 {
				break
			}
			widths[widest]--
		}
		if over <= 0 || !drop(columns, widths) {
			return widths
		}
	}
}

// copyKept gives the columns that are not left out their natural widths.
func copyKept(widths, natural []int) {
	for i := range widths {
		if widths[i] >= 0 {
			widths[i] = natural[i]
		}
	}
}

func total(widths []int) int {
	sum := -gap
	for _, w := range widths {
		if w >= 0 {
			sum += w + gap
		}
	}
	return sum
}

// drop leaves out one more column, and reports whether there was one.
func drop(columns []Column, widths []int) bool {
	next := -1
	for i, c := range columns {
		if c.Drop > 0 && widths[i] >= 0 && (next < 0 || c.Drop > columns[next].Drop) {
			next = i
		}
	}
	if next < 0 {
		return false
	}
	widths[next] = -1
	return true
}
