package balancer

import (
	"runtime"
	"slices"
	"sync"
	"testing"

	"l4proxy/backend"
)

func TestLeastConnTiesRotate(t *testing.T) {
	p, _ := newPolicy(t, "least_conn", 1, 1, 1)
	var got []int
	for range 7 { // each connection is over before the next comes
		b := p.Pick(0, nil)
		got = append(got, p.index(b))
		p.Done(b)
	}
	if want := []int{0, 1, 2, 0, 1, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("picked %v, want %v", got, want)
	}
	var open []*backend.Backend // on 1, 2, 0, 1, 2, 0
	for range 6 {
		open = append(open, p.Pick(0, nil))
	}
	for _, i := range []int{5, 3, 4} { // the ends make no difference
		p.Done(open[i])
	}
	if got, want := order(p, 0, 3), []int{1, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("picked %v, want %v: the least recently picked first", got, want)
	}
}

func TestLeastConnWeights(t *testing.T) {
	p, backends := newPolicy(t, "least_conn", 5, 1, 4)
	for range 100 {
		p.Pick(0, nil)
	}
	for i, want := range []int64{50, 10, 40} {
		if got := backends[i].Active(); got != want {
			t.Errorf("weight %d has %d of 100 connections, want %d", p.order[i].Weight, got, want)
		}
	}
}

func TestLeastConnFillsTheEmptiest(t *testing.T) {
	p, backends := newPolicy(t, "least_conn", 1, 1)
	for range 10 {
		p.Pick(0, backends[1:])
	}
	for i, got := range order(p, 0, 10) {
		if got != 1 {
			t.Fatalf("pick %d went to the fuller backend", i)
		}
	}
}

// TestLoadIsExact compares neighbouring fractions, which are as close as weights allow, and the
// largest ones, with cross multiplication.
func TestLoadIsExact(t *testing.T) {
	check := func(x int64, v int, y int64, w int) {
		if got, want := load(x, uint32(v)) < load(y, uint32(w)), (x+1)*int64(w) < (y+1)*int64(v); got != want {
			t.Fatalf("%d connections of weight %d before %d of %d: %t, want %t", x, v, y, w, got, want)
		}
	}
	// 65521 is a prime: its numerators leave every remainder.
	weights := []int{1, 3, 65521, MaxWeight - 1, MaxWeight}
	for _, v := range weights {
		for _, w := range weights {
			// Each numerator over the one denominator, with those beside it over the other.
			for x := range int64(v) {
				y := (x+1)*int64(w)/int64(v) - 1
				check(x, v, y, w)
				check(x, v, y+1, w)
				check(y, w, x, v)
				check(y+1, w, x, v)
			}
			check(1<<31-2, v, 1<<31-3, w)
			check(1<<31-3, v, 1<<31-2, w)
		}
	}
}

// TestLeastConnSpreadAcrossLoops looks at the counts between any two picks of several loops: they
// never differ by more than the weights allow.
func TestLeastConnSpreadAcrossLoops(t *testing.T) {
	const loops, each = 4, 500
	p, backends := newPolicy(t, "least_conn", 1, 1, 2, 5)
	stop := make(chan struct{})
	var pickers, watcher sync.WaitGroup
	watcher.Go(func() {
		for {
			checkSpread(t, p.Balancer)
			select {
			case <-stop:
				return
			default:
				runtime.Gosched()
			}
		}
	})
	for range loops {
		pickers.Go(func() {
			for range each {
				p.Pick(0, nil)
			}
		})
	}
	pickers.Wait()
	close(stop)
	watcher.Wait()
	checkSpread(t, p.Balancer)
	var sum int64
	for _, b := range backends {
		sum += b.Active()
	}
	if sum != loops*each {
		t.Errorf("%d connections counted, want %d", sum, loops*each)
	}
}

// checkSpread holds what picking the least load guarantees while no connection ends: the load of a
// backend is at most what any other's would be with one connection more.
func checkSpread(t *testing.T, p *Balancer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.order {
		for _, b := range p.order {
			if a.Active()*int64(b.Weight) > (b.Active()+1)*int64(a.Weight) {
				t.Errorf("weight %d has %d connections while weight %d has %d",
					a.Weight, a.Active(), b.Weight, b.Active())
			}
		}
	}
}
