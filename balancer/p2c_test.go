package balancer

import (
	"slices"
	"testing"
)

// TestP2CTakesTheBetterOfTwo holds that the two drawn are different: with two backends it is always
// the emptier.
func TestP2CTakesTheBetterOfTwo(t *testing.T) {
	for _, weights := range [][]int{{1, 1}, {1, 50}, {50, 1}} {
		for fuller := range 2 {
			c := newTable("p2c", chooserOptions{Seed: 1}, newMembers(weights...))
			for range 10_000 {
				c.backends[fuller].Acquire()
			}
			for range 50 { // 51 is less than 10,001/50
				if i := c.open(request{}); i == fuller {
					t.Fatalf("weights %v: picked the fuller one", weights)
				}
			}
		}
	}
}

// TestP2CIsCloseToLeastConnections compares it with chance: a hundred clients per backend.
func TestP2CIsCloseToLeastConnections(t *testing.T) {
	worst := func(name string) int64 {
		c := newTable(name, chooserOptions{Seed: 1}, newMembers(equal(1000)...))
		most := int64(0)
		for range 100_000 {
			most = max(most, c.backends[c.open(request{})].Active())
		}
		return most
	}
	if n := worst("p2c"); n > 103 {
		t.Errorf("the fullest of 1,000 backends has %d of 100,000 connections, want at most 103", n)
	}
	if n := worst("random"); n < 120 {
		t.Errorf("by chance the fullest has only %d: the comparison means nothing", n)
	}
}

// TestP2CTiesGoByWeight holds that idle backends of one weight are picked equally often, also
// beside a lone one.
func TestP2CTiesGoByWeight(t *testing.T) {
	c := newTable("p2c", chooserOptions{Seed: 1}, newMembers(equal(4)...))
	c.setAvailable(2, false)
	counts := make([]uint64, 4)
	for range 100_000 {
		counts[c.next(request{})]++
	}
	checkShares(t, counts, []int{1, 1, 0, 1})
	if i := c.next(request{tried: []int{0, 3}}); i != 1 {
		t.Errorf("picked %d, want the only one left", i)
	}
}

func TestP2CSeed(t *testing.T) {
	picks := func(seed uint64) (got []int) {
		c := newTable("p2c", chooserOptions{Seed: seed}, newMembers(equal(100)...))
		for range 20 {
			got = append(got, c.open(request{}))
		}
		return got
	}
	if a, b := picks(1), picks(1); !slices.Equal(a, b) {
		t.Errorf("the same seed picked %v and %v", a, b)
	}
	if a, b := picks(1), picks(2); slices.Equal(a, b) {
		t.Errorf("different seeds both picked %v", a)
	}
}
