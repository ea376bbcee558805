package control

import (
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
)

func TestMaxConnections(t *testing.T) {
	pipes := 2 * eventloop.PipesPerLoop
	fixed := func(workers, sockets, pipes int) int { return ownDescriptors + perLoop*workers + sockets + pipes }
	for _, tt := range []struct {
		name                              string
		wanted, limit, workers, listening int
		checks                            int
		want                              int
		err                               string // begins with
	}{
		{"auto", 0, 20_000, 2, 2, 0, (20_000 - fixed(2, 2, 2*pipes)) / 2, ""},
		{"auto, many loops: pipes take an eighth at most", 0, 1_024, 64, 64, 0, (1_024 - fixed(64, 64, 128)) / 2, ""},
		{"auto, just enough", 0, fixed(1, 1, 9) + 32, 1, 1, 0, minConnections, ""},
		{"auto, too small", 0, 64, 1, 1, 0, 0, "the open file limit of 64 is too low for 1 listening sockets: raise it to "},
		{"wanted", 500, 20_000, 2, 2, 0, 500, ""},
		{"wanted, just enough", 100, 272, 1, 1, 0, 100, ""},
		{"wanted, with health checks", 100, 392, 1, 1, 105, 100, ""},
		{"wanted, one too many", 101, 272, 1, 1, 0, 0, "max_connections is 101, but the open file limit of 272 allows only 100: raise the limit to "},
		{"wanted below what auto would start for", 1, 80, 1, 1, 0, 1, ""},
		{"wanted, no room at all", 1, 16, 1, 1, 0, 0, "max_connections is 1, but the open file limit of 16 allows only 0: raise the limit to "},
	} {
		got, err := MaxConnections(tt.wanted, tt.limit, tt.workers, tt.listening, tt.checks)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.HasPrefix(err.Error(), tt.err) {
			t.Errorf("%s: %d, %v; want %d, %q", tt.name, got, err, tt.want, tt.err)
		}
	}
}

// The number that an error names is enough, and one less is not.
func TestMaxConnectionsErrorNamesWhatIsEnough(t *testing.T) {
	for _, wanted := range []int{0, 1, 100, 5_000, 1_000_000} {
		for _, workers := range []int{1, 8, 64} {
			_, err := MaxConnections(wanted, 40, workers, workers, 0)
			if err == nil {
				t.Fatalf("%d wanted, %d workers: 40 open files are enough", wanted, workers)
			}
			_, after, _ := strings.Cut(strings.ReplaceAll(err.Error(), "raise the limit", "raise it"), "raise it to ")
			named, _, _ := strings.Cut(after, " ")
			enough, numErr := strconv.Atoi(named)
			if numErr != nil {
				t.Fatalf("%q names no number: %v", err, numErr)
			}
			if _, err := MaxConnections(wanted, enough, workers, workers, 0); err != nil {
				t.Errorf("%d wanted, %d workers: %d is not enough: %v", wanted, workers, enough, err)
			}
			if n, err := MaxConnections(wanted, enough-1, workers, workers, 0); err == nil {
				t.Errorf("%d wanted, %d workers: %d would be enough for %d", wanted, workers, enough-1, n)
			}
		}
	}
}

func TestRaiseFileLimit(t *testing.T) {
	var before, after unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: before.Max / 2, Max: before.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
	got, err := RaiseFileLimit()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &after); err != nil {
		t.Fatal(err)
	}
	if after.Cur != before.Max || uint64(got) != min(before.Max, 1<<30) {
		t.Errorf("the limit is %d and %d was returned, want %d", after.Cur, got, before.Max)
	}
}
