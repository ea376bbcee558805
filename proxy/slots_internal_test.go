package proxy

import (
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// TestSharesFollowAnyDivision takes and gives slots in any order, while listeners come and go and
// the limit changes. At each moment, the common slots taken are what listeners hold beyond their
// shares, and no take succeeds beyond a limit.
func TestSharesFollowAnyDivision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s slots
		all := make([]*Listener, 5)
		for i := range all {
			all[i] = &Listener{Slots: NewSlots(rapid.SampledFrom([]int64{0, 0, 3, 20}).Draw(t, "limit of a listener"))}
		}
		all[4].Slots = nil
		held := make(map[*Listener]int64)
		var current []*Listener
		divide := func(t *rapid.T) {
			var next []*Listener
			for _, l := range all {
				if rapid.Bool().Draw(t, "stays") {
					next = append(next, l)
				}
			}
			if len(next) == 0 {
				next = all[:1]
			}
			s.divide(rapid.SampledFrom([]int64{0, 5, 16, 40, 100}).Draw(t, "limit"), next, current)
			current = next
		}
		divide(t)
		t.Repeat(map[string]func(*rapid.T){
			"divide": divide,
			"take": func(t *rapid.T) {
				l := rapid.SampledFrom(all).Draw(t, "listener") // also one that is gone: its queue is being emptied
				room := s.room(l.Slots)
				if ok := s.take(l.Slots); ok != (room > 0) {
					t.Fatalf("take = %v with room for %d", ok, room)
				} else if ok {
					held[l]++
				}
			},
			"give": func(t *rapid.T) {
				l := rapid.SampledFrom(all).Draw(t, "listener")
				if held[l] == 0 {
					t.Skip("it holds none")
				}
				held[l]--
				s.give(l.Slots)
			},
			"": func(t *rapid.T) {
				total, beyond := int64(0), int64(0)
				for _, l := range all {
					total += held[l]
					if l.Slots == nil {
						beyond += held[l]
						continue
					}
					share, used := split(l.Slots.word.Load())
					if used != held[l] {
						t.Fatalf("used = %d, want %d", used, held[l])
					}
					beyond += max(0, used-share)
				}
				if s.all.Used() != total || s.common.Used() != beyond {
					t.Fatalf("used, common = %d, %d, want %d, %d", s.all.Used(), s.common.Used(), total, beyond)
				}
			},
		})
		for l, n := range held {
			for range n {
				s.give(l.Slots)
			}
		}
		if s.all.Used() != 0 || s.common.Used() != 0 {
			t.Fatalf("used, common = %d, %d, want 0", s.all.Used(), s.common.Used())
		}
	})
}

// TestSharesChangeUnderLoops: loops take and give slots at the same time as the shares change. In
// the end nothing is counted, and each listener finds its share.
func TestSharesChangeUnderLoops(t *testing.T) {
	const most, loops, rounds = 40, 4, 20_000
	var s slots
	listeners := []*Listener{{Slots: NewSlots(0)}, {Slots: NewSlots(7)}, {Slots: NewSlots(0)}}
	s.divide(most, listeners, nil)
	var running sync.WaitGroup
	for seed := range uint64(loops) {
		running.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			var held []*Slots
			for range rounds {
				if len(held) > 0 && r.IntN(2) == 0 {
					last := len(held) - 1
					s.give(held[last])
					held = held[:last]
				} else if l := listeners[r.IntN(len(listeners))].Slots; s.take(l) {
					held = append(held, l)
				}
				if used := s.all.Used(); used > most+loops {
					t.Errorf("%d slots are taken", used)
					return
				}
			}
			for _, l := range held {
				s.give(l)
			}
		})
	}
	over := make(chan struct{})
	go func() { running.Wait(); close(over) }()
	current := listeners
	for i := 0; ; i++ {
		select {
		case <-over:
		default:
			next := listeners[:1+i%3]
			s.divide(most-int64(i%2)*20, next, current)
			current = next
			continue
		}
		break
	}
	s.divide(most, listeners, current)
	if s.all.Used() != 0 || s.common.Used() != 0 {
		t.Errorf("used, common = %d, %d, want 0", s.all.Used(), s.common.Used())
	}
	share := most / reservePart / len(listeners)
	for s.take(listeners[0].Slots) {
	}
	for range share {
		if !s.take(listeners[2].Slots) {
			t.Fatal("another listener has taken the share")
		}
	}
	if s.take(listeners[2].Slots) {
		t.Error("more than the limit")
	}
}
