package main

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test binary stand in for the program where the driver runs
// its own commands.
func TestMain(m *testing.M) {
	if code, ok := runCommand(os.Args[1:]); ok {
		os.Exit(code)
	}
	// A program under the race detector waits a second before it ends, for other
	// threads' reports.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
