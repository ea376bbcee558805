package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong, where it stands, and what to write
// instead.
type Problem struct {
	// File, Line and Col say where. Line is 0 when the file as a whole is
	// meant (it cannot be read).
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
	// Env is the environment variable that holds the mistake, in place of a
	// position.
	Env string `json:"env,omitempty"`
	// Msg is what is wrong, Fix what to write instead.
	Msg string `json:"msg"`
	Fix string `json:"fix,omitempty"`
}

// Error returns "FILE:LINE:COL: what is wrong: what to write instead", or
// "$VARIABLE: ..." for an environment variable.
func (p Problem) Error() string {
	var b strings.Builder
	switch {
	case p.Env != "":
		fmt.Fprintf(&b, "$%s: ", p.Env)
	case p.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Col)
	case p.File != "":
		fmt.Fprintf(&b, "%s: ", p.File)
	}
	b.WriteString(p.Msg)
	if p.Fix != "" {
		b.WriteString(": ")
		b.WriteString(p.Fix)
	}
	return b.String()
}

// Problems is the error that Load and Parse return: everything that is wrong,
// sorted: the environment first, then the configuration file, then the files
// it names.
type Problems []Problem

// Error returns one problem a line.
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
