package backend

import (
	"maps"
	"sync"
	"testing"
)

func failedDialsOf(b *Backend) map[string]uint64 {
	all := make(map[string]uint64)
	b.FailedDials(func(f DialFailure, n uint64) { all[f.String()] = n })
	return all
}

func TestFailedDialsCarryOn(t *testing.T) {
	old, next := new(Backend), new(Backend)
	var loops sync.WaitGroup
	for range 4 {
		loops.Go(func() {
			for range 100 {
				old.CountFailed(DialRefused)
				old.CountFailed(DialError)
			}
		})
	}
	loops.Wait()
	saved := old.Save()
	saved.Failed["a word of a later version"] = 5
	next.Load(saved, 0, 0)
	next.CountFailed(DialTimeout)
	want := map[string]uint64{"connect_refused": 400, "connect_timeout": 1, "error": 405}
	if got := failedDialsOf(next); !maps.Equal(got, want) {
		t.Errorf("failed dials: %v, want %v", got, want)
	}
	if saved := new(Backend).Save(); saved.Failed != nil {
		t.Errorf("a backend without failed dials saves %v", saved.Failed)
	}
}
