package iheap

import (
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type key struct{ key, tie uint64 }

// The twin is a map that is searched from end to end.
func TestHeapIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const items = 10
		got, want := New(rapid.IntRange(0, items).Draw(t, "room")), map[int]key{}
		first := func(skip []int) int {
			found := -1
			for i, k := range want {
				if !slices.Contains(skip, i) && (found < 0 || k.key < want[found].key ||
					k.key == want[found].key && k.tie < want[found].tie) {
					found = i
				}
			}
			return found
		}
		ties := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				i, k := rapid.IntRange(0, items-1).Draw(t, "item"), rapid.Uint64Range(0, 20).Draw(t, "key")
				ties++
				got.Set(i, k, ties)
				want[i] = key{k, ties}
			},
			"remove": func(t *rapid.T) {
				i := rapid.IntRange(0, items-1).Draw(t, "item")
				got.Remove(i)
				delete(want, i)
			},
			"except": func(t *rapid.T) {
				skip := rapid.SliceOfN(rapid.IntRange(0, items-1), 0, 3).Draw(t, "skip")
				if item := got.MinExcept(skip); item != first(skip) {
					t.Fatalf("without %v, %d is first, want %d of %v", skip, item, first(skip), want)
				}
			},
			"": func(t *rapid.T) {
				if len(got.nodes) != len(want) || got.Min() != first(nil) {
					t.Fatalf("%d items, %d first, want %d first of %v", len(got.nodes), got.Min(), first(nil), want)
				}
				held := map[int]key{}
				for i := range items {
					if got.Has(i) {
						held[i] = key{got.Key(i), got.Tie(i)}
					}
				}
				if !maps.Equal(held, want) {
					t.Fatalf("the heap holds %v, want %v", held, want)
				}
			},
		})
	})
}

func TestKeysWrapAround(t *testing.T) {
	h := New(4)
	h.Set(0, 1, 0)
	h.Set(1, math.MaxUint64, 1)
	h.Set(2, math.MaxUint64, math.MaxUint64)
	h.Set(3, math.MaxUint64-1, 0)
	for _, want := range []int{3, 2, 1, 0} {
		if got := h.Min(); got != want {
			t.Errorf("%d is first, want %d", got, want)
		}
		h.Remove(h.Min())
	}
}
