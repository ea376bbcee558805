// Package testnet provides clients and scripted backends for both sides of a proxy, and byte
// streams whose reader detects every wrong byte.
//
// Nothing here sleeps for a fixed time: a test waits for a condition, and fails after [Patience].
package testnet

import (
	"maps"
	"net"
	"os"
	"testing"
	"time"
)

// Patience bounds every wait for something that should happen at once. Only a failing test waits
// that long.
const Patience = 20 * time.Second

// Eventually waits until cond holds, and checks it every millisecond.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !Within(Patience, cond) {
		t.Fatalf("not within %v: %s", Patience, what)
	}
}

// Within waits at most limit until cond holds, and reports whether it does.
func Within(limit time.Duration, cond func() bool) bool {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(limit); !cond(); <-ticker.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// OpenFiles returns the number of descriptors that this process has open.
func OpenFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries) - 1 // without the descriptor that reads the directory
}

// startPoller makes the Go runtime open the descriptors that it keeps for package net.
func startPoller(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// SameFiles fails the test if descriptors are open at its end that are not open now. It looks after
// all cleanups that the test registers later. Descriptors may be missing then: what an earlier test
// closes in the background may still be open now.
func SameFiles(t testing.TB) {
	t.Helper()
	startPoller(t)
	before := openFiles(t)
	t.Cleanup(func() {
		var left map[string]string
		if !Within(Patience, func() bool {
			left = openFiles(t)
			maps.DeleteFunc(left, func(fd, file string) bool { return before[fd] == file })
			return len(left) == 0
		}) {
			t.Errorf("left open by the test: %v", left)
		}
	})
}

// openFiles returns what each open descriptor refers to, as in proc_pid_fd(5).
func openFiles(t testing.TB) map[string]string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string, len(entries))
	for _, e := range entries {
		// The descriptor that has read the directory is closed by now.
		if file, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			files[e.Name()] = file
		}
	}
	return files
}
