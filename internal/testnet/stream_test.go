package testnet

import "testing"

// Every piece repeats with the period, also the longest at the last offset.
func TestStreamRepeats(t *testing.T) {
	for _, offset := range []int64{0, 1, period - 2, period - 1} {
		piece := Stream(0).Piece(offset, longest)
		for i, got := range piece {
			if want := block()[(offset+int64(i))%period]; got != want {
				t.Fatalf("byte %d of the piece at %d is %x, want %x", i, offset, got, want)
			}
		}
	}
}
