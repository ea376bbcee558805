package main

import (
	"log/slog"
	"testing"
)

// TestOutdatedSocketsLeaveTheStore: the process before has stored sockets of a listener that this
// process does not have. Left in the store, clients would wait in their queues.
func TestOutdatedSocketsLeaveTheStore(t *testing.T) {
	s := newSystemdService(nil, slog.New(slog.DiscardHandler), []string{"dropped"})
	s.outdated("old")
	if err := s.store(nil); err != nil {
		t.Fatal(err)
	}
	if len(s.stored) != 0 {
		t.Errorf("still stored: %v", s.stored)
	}
}
