package main

import (
	"io"
	"os"
	"time"

	"l4proxy/internal/term"
)

// screenOf is what the output of a command can do.
func screenOf(w io.Writer) term.Screen { return term.ScreenOf(w, os.LookupEnv) }

// count writes a number with its noun.
func count(n int, noun string) string { return term.Count(n, noun) }

// ago is a period as people say it: two units at most.
func ago(d time.Duration) string { return term.Ago(d) }

// printable replaces what could control a terminal: errors may repeat what a server has sent.
func printable(text string) string { return term.Printable(text) }
