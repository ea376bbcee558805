package health

import (
	"testing"

	"pgregory.net/rapid"
)

func TestAgendaIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const targets = 10
		got, want := newAgenda(targets), map[int32]int64{}
		earliest := func() (at int64) {
			first := true
			for _, when := range want {
				if first || when < at {
					at, first = when, false
				}
			}
			return at
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				target, at := rapid.Int32Range(0, targets-1).Draw(t, "target"), rapid.Int64Range(0, 20).Draw(t, "at")
				got.set(target, at)
				want[target] = at
			},
			"remove": func(t *rapid.T) {
				target := rapid.Int32Range(0, targets-1).Draw(t, "target")
				got.remove(target)
				delete(want, target)
			},
			"": func(t *rapid.T) {
				first, any := got.first()
				if any != (len(want) > 0) || len(got.heap) != len(want) {
					t.Fatalf("first: %v, %d on the agenda, want %d", any, len(got.heap), len(want))
				}
				if any && (first.at != earliest() || want[first.target] != first.at) {
					t.Fatalf("first is %+v, want one of %v", first, want)
				}
				for i, a := range got.heap {
					if want[a.target] != a.at || got.place[a.target] != int32(i) {
						t.Fatalf("%+v stands at %d, want %v", a, i, want)
					}
				}
			},
		})
	})
}
