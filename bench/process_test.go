package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"l4proxy/internal/testnet"
)

// Workers that outlive their master must not outlive the benchmark.
func TestStopEndsWhatTheProcessForked(t *testing.T) {
	p, err := start("forker", t.TempDir(), "sh", "-c", "sleep 600 & exec sleep 600")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	var pids []int
	testnet.Eventually(t, "the shell has a child", func() bool {
		if pids, err = tree(p.pid()); err != nil {
			t.Fatal(err)
		}
		return len(pids) == 2
	})
	p.stop()
	// The orphan is a zombie until init waits for it.
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pids[1]))
	if err == nil && !strings.Contains(string(stat), ") Z ") && !strings.Contains(string(stat), ") X ") {
		t.Errorf("the child is still there: %s", stat)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
}

func TestTail(t *testing.T) {
	for output, want := range map[string]string{
		"":                        "no output",
		" \n":                     "no output",
		"a line\n":                "a line",
		strings.Repeat("x", 1500): strings.Repeat("x", 1000),
	} {
		if got := tail([]byte(output)); got != want {
			t.Errorf("tail(%q) = %q, want %q", output, got, want)
		}
	}
}
