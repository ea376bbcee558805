package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Fault is one thing that is wrong with a configuration, and what to write instead.
type Fault struct {
	// Path says where, as in listeners.web.acl[1].allow[0].
	Path string `json:"path,omitempty"`
	// Msg is what is wrong, Fix what to write instead.
	Msg string `json:"msg"`
	Fix string `json:"fix,omitempty"`
	// See are the paths of what the message compares with.
	See []string `json:"-"`
	// generic: the text is not a value of its type at all; about makes the message.
	generic bool
}

func faultf(fix, format string, args ...any) *Fault {
	return &Fault{Msg: fmt.Sprintf(format, args...), Fix: fix}
}

// about gives a generic fault its message.
func (f *Fault) about(expected, got string) *Fault {
	if f.generic && f.Msg == "" {
		f.Msg = fmt.Sprintf("expected %s, got %s", expected, got)
	}
	return f
}

// Error returns "path: what is wrong: what to write instead".
func (f Fault) Error() string {
	text := f.Msg
	if f.Path != "" {
		text = f.Path + ": " + text
	}
	if f.Fix != "" {
		text += ": " + f.Fix
	}
	return text
}

// Position is a position in a configuration file, or the name of an environment variable. Line and
// Col count from 1, Col in characters; Line is 0 when the file as a whole is meant. The zero value
// is a value that a program made.
type Position struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
	Env  string `json:"env,omitempty"`
}

// String returns "FILE:LINE:COL", "FILE", "$VARIABLE", or "".
func (p Position) String() string {
	switch {
	case p.Env != "":
		return "$" + p.Env
	case p.Line == 0:
		return p.File
	}
	return strings.Join([]string{p.File, strconv.Itoa(p.Line), strconv.Itoa(p.Col)}, ":")
}

// Problem is a fault with its position.
type Problem struct {
	Position
	Fault
}

// Error returns "FILE:LINE:COL: what is wrong: what to write instead". Without a position it is the
// path that leads.
func (p Problem) Error() string {
	f := p.Fault
	if p.Position == (Position{}) {
		return f.Error()
	}
	f.Path = ""
	return p.String() + ": " + f.Error()
}

// Problems is the error that Load and Parse return: everything that is wrong, sorted: the
// environment first, then the configuration file, then the files that it names.
type Problems []Problem

// Error returns one problem per line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted orders ps by position, main being the configuration file.
func (ps Problems) sorted(main string) Problems {
	rank := func(p Problem) int {
		switch {
		case p.Env != "":
			return 0
		case p.File == main:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(a.Env, b.Env),
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Col, b.Col),
		)
	})
	return ps
}
