package rawsys

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const printClock = "RAWSYS_TEST_PRINT_CLOCK"

func TestMain(m *testing.M) {
	if os.Getenv(printClock) != "" {
		fmt.Print(Monotonic())
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// slack is more than the offset can be wrong by.
const slack = int64(10 * time.Microsecond)

func TestMonotonicIsClockMonotonic(t *testing.T) {
	for range 1000 {
		before, got, after := kernelClock(t), Monotonic(), kernelClock(t)
		if got < before-slack || got > after+slack {
			t.Fatalf("the clock shows %d, CLOCK_MONOTONIC was %d before and %d after", got, before, after)
		}
	}
}

func kernelClock(t testing.TB) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano()
}

// Another process reads a time between two of this one's.
func TestMonotonicOfAnotherProcess(t *testing.T) {
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), printClock+"=1")
	before := Monotonic()
	out, err := child.Output()
	after := Monotonic()
	if err != nil {
		t.Fatal(err)
	}
	got, err := strconv.ParseInt(string(out), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if got < before-2*slack || got > after+2*slack {
		t.Errorf("the other process read %d, this one %d before and %d after", got, before, after)
	}
}

func BenchmarkMonotonic(b *testing.B) {
	for b.Loop() {
		Monotonic()
	}
}

func BenchmarkClockGettime(b *testing.B) {
	for b.Loop() {
		kernelClock(b)
	}
}

func BenchmarkTimeSince(b *testing.B) {
	for b.Loop() {
		_ = time.Since(base)
	}
}
