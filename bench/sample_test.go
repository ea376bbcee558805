package main

import (
	"context"
	"testing"
	"time"
)

func TestSampleProcess(t *testing.T) {
	p, err := start("sleeper", t.TempDir(), "sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	samples := sampleProcess(ctx, p.pid(), time.Millisecond)
	if len(samples) < 2 {
		t.Fatalf("%d samples", len(samples))
	}
	for i, s := range samples {
		if s.PSS <= 0 || s.FDs < 3 || s.CPU < 0 || i > 0 && s.Seconds <= samples[i-1].Seconds {
			t.Fatalf("sample %d is %+v", i, s)
		}
	}
}

// Sampling ends with the process and does not wait for its context.
func TestSamplingEndsWithTheProcess(t *testing.T) {
	p, err := start("sleeper", t.TempDir(), "sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan []sample, 1)
	go func() { ended <- sampleProcess(context.Background(), p.pid(), time.Millisecond) }()
	p.stop()
	<-ended
	if s := sampleProcess(t.Context(), p.pid(), time.Millisecond); len(s) != 0 {
		t.Errorf("%d samples of a process that has ended", len(s))
	}
}

func TestBusySince(t *testing.T) {
	at := time.Now()
	before := reading{at: at, cpu: usage{user: 1, system: 2}}
	after := reading{at: at.Add(2 * time.Second), cpu: usage{user: 2, system: 4}}
	if busy := after.busySince(before); busy != 1.5 {
		t.Errorf("3 seconds of CPU in 2 are %v busy CPUs, want 1.5", busy)
	}
	after.cpu = usage{user: 1}
	if busy := after.busySince(before); busy != 0 {
		t.Errorf("a descendant that took its CPU time with it leaves %v, want 0", busy)
	}
}
