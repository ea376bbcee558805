package proxy_test

import (
	"os"
	"runtime"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if work := os.Getenv(childEnv); work != "" {
		os.Exit(runChild(work))
	}
	if work := os.Getenv(poorEnv); work != "" {
		os.Exit(runPoor(work))
	}
	// Each loop keeps a processor of the Go scheduler (a P) during its raw waits. Clients and
	// backends of these tests need some too.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 12))
	goleak.VerifyTestMain(m)
}
