package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// programMost is how long a program of a script may run.
const programMost = 2 * time.Minute

// TestMain lets the scripts run l4proxy as a program of its own, which is this test binary again.
func TestMain(m *testing.M) {
	testscript.Main(leakCheck{m}, map[string]func(){
		"l4proxy": func() {
			// A script that fails may leave an upgraded process, and waits for its output.
			time.AfterFunc(programMost, func() { os.Exit(exitFailed) })
			useTestResolver()
			os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
		},
		"echo-backend":           echoBackend,
		"under-profile":          underProfile,
		"without-io-uring":       without(unix.SYS_IO_URING_SETUP),
		"without-io-uring-enter": without(unix.SYS_IO_URING_ENTER),
	})
}

// leakCheck runs the tests, and then sees whether a goroutine is left.
type leakCheck struct{ m *testing.M }

func (l leakCheck) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintf(os.Stderr, "goroutines are left: %v\n", err)
		return 1
	}
	return code
}
