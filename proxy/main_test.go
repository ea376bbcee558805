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
	// The raw waits of the loops keep processors; clients and backends of these tests need some too.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 12))
	goleak.VerifyTestMain(m)
}
