package eventloop

import (
	"testing"
	"time"
)

// loopCPUTime: the CPU time of a loop grows by what its handler uses, and hardly while it waits.
func loopCPUTime(t *testing.T, d *driver) {
	used := func() time.Duration {
		t.Helper()
		cpu, ok := d.loop.CPUTime()
		if !ok {
			t.Fatal("the CPU time is unknown")
		}
		return cpu
	}
	const work = 20 * time.Millisecond
	before := used()
	d.do(func() {
		for used() < before+work {
		}
	})
	after := used()
	if after < before+work {
		t.Errorf("the handler used %v, and %v was counted", work, after-before)
	}
	if _, ok := d.loop.RunDelay(); !ok {
		t.Log("this kernel does not count run delays")
	}
	d.do(func() { d.loop.Quit() })
	d.end()
	if _, ok := d.loop.CPUTime(); ok {
		t.Error("the CPU time of a loop that has ended is known")
	}
	if _, ok := d.loop.RunDelay(); ok {
		t.Error("the run delay of a loop that has ended is known")
	}
}
