package main

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// The test binary also runs the hidden commands that bench starts of itself.
func TestMain(m *testing.M) {
	if code, ok := runCommand(os.Args[1:]); ok {
		os.Exit(code)
	}
	// Under the race detector, a program waits a second for reports before it ends.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
