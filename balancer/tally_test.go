package balancer

import (
	"testing"

	"pgregory.net/rapid"
)

// TestTallyAgreesWithARow compares the tree with the numbers one after another.
func TestTallyAgreesWithARow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 70).Draw(rt, "members")
		tree, row := newTally(n), make([]uint32, n)
		index := rapid.IntRange(0, n-1)
		check := func() {
			total := uint64(0)
			for i, of := range row {
				if of > 0 {
					for _, x := range []uint64{total, total + uint64(of) - 1} {
						if got, before := tree.at(x); got != i || before != total {
							rt.Fatalf("at(%d) = %d, %d, want %d, %d of %v", x, got, before, i, total, row)
						}
					}
				}
				total += uint64(of)
			}
			if tree.total != total {
				rt.Fatalf("the total is %d, want %d", tree.total, total)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"set": func(rt *rapid.T) {
				i := index.Draw(rt, "index")
				row[i] = rapid.OneOf(rapid.Just(uint32(0)), rapid.Uint32()).Draw(rt, "number")
				tree.set(i, row[i])
			},
			"hold": func(rt *rapid.T) {
				held := rapid.SliceOfN(index, 0, 4).Draw(rt, "held")
				was := append([]uint32(nil), row...)
				for _, i := range held {
					row[i] = 0
				}
				tree.hold(held)
				check()
				tree.putBack()
				row = was
			},
			"": func(*rapid.T) { check() },
		})
	})
}
