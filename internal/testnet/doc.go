// Package testnet holds the peers that tests put on both sides of a proxy: backends that do as they are told, clients,
// and streams of bytes that prove themselves.
//
// Nothing here sleeps to let something happen: a test waits for a condition, and gives up after [Patience].
package testnet

import (
	"net"
	"os"
	"testing"
	"time"
)

// Patience is how long something may take that should happen at once. Only a failing test ever waits that long.
const Patience = 20 * time.Second

// Eventually waits until cond holds, asking every millisecond.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !Within(Patience, cond) {
		t.Fatalf("it does not come about within %v: %s", Patience, what)
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

// OpenFiles is the number of descriptors that this process has open.
func OpenFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries) - 1 // without the one that reads the directory
}

// startPoller has the Go runtime open the descriptors that it keeps for package net, if it has not yet.
func startPoller(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// SameFiles fails the test if it ends with other descriptors open than there are now. Clean-ups registered later come
// before its look.
func SameFiles(t testing.TB) {
	t.Helper()
	startPoller(t)
	before := OpenFiles(t)
	t.Cleanup(func() {
		if !Within(Patience, func() bool { return OpenFiles(t) == before }) {
			t.Errorf("%d descriptors are open after the test, %d were before it", OpenFiles(t), before)
		}
	})
}
