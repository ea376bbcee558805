// Package testnet provides clients and scripted backends for both sides of a proxy, and byte
// streams whose reader detects every wrong byte.
//
// Nothing here sleeps for a fixed time: a test waits for a condition, and fails after [Patience].
package testnet

import (
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

// SameFiles fails the test if more descriptors are open at its end than now. It counts after all
// cleanups that the test registers later. Fewer may be open then: what an earlier test has closed
// in the background is gone a moment later.
func SameFiles(t testing.TB) {
	t.Helper()
	startPoller(t)
	before := OpenFiles(t)
	t.Cleanup(func() {
		if !Within(Patience, func() bool { return OpenFiles(t) <= before }) {
			t.Errorf("%d descriptors are open after the test, %d were before it", OpenFiles(t), before)
		}
	})
}
