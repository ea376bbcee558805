package balancer

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// table is a chooser with its members, driven as a pool does it.
type table struct {
	chooser
	*members
	available []bool
}

// newTable returns the named chooser over backends, all of them available.
func newTable(name string, o chooserOptions, list []Member) *table {
	m := &members{backends: backendsOf(list)}
	for _, b := range list {
		m.full = append(m.full, uint32(b.Weight))
	}
	m.weights = slices.Clone(m.full)
	if o.HashSeed == nil {
		o.HashSeed = hashSeed("test")
	}
	t := &table{policies[name].build(m, o), m, make([]bool, len(list))}
	for i := range list {
		t.setAvailable(i, true)
	}
	return t
}

func (t *table) setAvailable(i int, available bool) {
	if t.available[i] == available {
		return
	}
	t.available[i] = available
	if available {
		t.add(i)
	} else {
		t.remove(i)
	}
}

func (t *table) setWeight(i int, weight uint32) {
	available := t.available[i]
	t.setAvailable(i, false)
	t.weights[i] = weight
	t.setAvailable(i, available)
}

// open counts a connection where next says; -1 if it is nowhere.
func (t *table) open(r request) int {
	i := t.next(r)
	if i >= 0 {
		t.backends[i].Acquire()
		t.picked(i)
	}
	return i
}

func (t *table) close(i int) {
	t.backends[i].Release()
	if r, ok := t.chooser.(recounter); ok && t.available[i] {
		r.recount(i)
	}
}

// eachChooser runs f with every policy, and with source_hash with a bound.
func eachChooser(t *testing.T, f func(t *testing.T, name string, o chooserOptions)) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) { f(t, name, chooserOptions{}) })
	}
	t.Run("source_hash bounded", func(t *testing.T) { f(t, "source_hash", chooserOptions{MaxLoad: 125}) })
}

// byChance are the policies that draw: what was before does not decide what is next.
func byChance(name string) bool { return name == "random" || name == "p2c" }

// TestNextContract drives every policy with anything that a pool may do.
func TestNextContract(t *testing.T) {
	eachChooser(t, func(t *testing.T, name string, o chooserOptions) {
		rapid.Check(t, func(rt *rapid.T) {
			weights := rapid.SliceOfN(rapid.IntRange(1, 9), 0, 7).Draw(rt, "weights")
			n := len(weights)
			c := newTable(name, o, newMembers(weights...))
			index := rapid.IntRange(0, max(0, n-1))
			var open []int
			rt.Repeat(map[string]func(*rapid.T){
				"pick": func(rt *rapid.T) {
					if i := c.open(request{key: rapid.Uint64().Draw(rt, "key")}); i >= 0 {
						open = append(open, i)
					}
				},
				"close": func(*rapid.T) {
					if len(open) > 0 {
						c.close(open[0])
						open = open[1:]
					}
				},
				"come or go": func(rt *rapid.T) {
					if n > 0 {
						i := index.Draw(rt, "index")
						c.setAvailable(i, !c.available[i])
					}
				},
				"weigh": func(rt *rapid.T) {
					if n > 0 {
						i := index.Draw(rt, "index")
						c.setWeight(i, rapid.Uint32Range(1, c.full[i]).Draw(rt, "weight"))
					}
				},
				"": func(rt *rapid.T) {
					key := rapid.Uint64().Draw(rt, "key")
					tried := []int(nil)
					if n > 0 {
						tried = rapid.SliceOfN(index, 0, n+1).Draw(rt, "tried")
					}
					before := c.next(request{key: key})
					i := c.next(request{key: key, tried: tried})
					left := 0
					for k := range n {
						if c.available[k] && !slices.Contains(tried, k) {
							left++
						}
					}
					switch {
					case (i >= 0) != (left > 0):
						rt.Fatalf("%d are left, and next returned %d", left, i)
					case i >= 0 && (!c.available[i] || slices.Contains(tried, i)):
						rt.Fatalf("next returned %d: available %v, tried %v", i, c.available, tried)
					}
					if after := c.next(request{key: key}); after != before && !byChance(name) {
						rt.Fatalf("next returned %d, and %d after one that has tried %v", before, after, tried)
					}
				},
			})
		})
	})
}

// tolerance returns how far the count of a member of weight w may be from its share of the picks,
// all of which stay open.
func tolerance(name string, picks, w, sum float64, members int) float64 {
	share := w / sum
	chance := math.Sqrt(picks * share * (1 - share)) // of the keys, or of the policy
	switch name {
	case "round_robin":
		return 1
	case "least_conn":
		return float64(members)
	case "p2c": // log log n of each one's weight (Mitzenmacher, 2001), not growing with the picks
		return 5 * w
	case "random":
		return 5 * chance
	case "maglev": // the table's entries differ by one percent
		return 5*chance + picks*share/entriesEach
	case "source_hash":
		points := w / sum * float64(members*pointsEach)
		return 5 * math.Hypot(chance, picks*share/math.Sqrt(points))
	}
	panic("no tolerance for " + name)
}

// TestShares holds that 100,000 connections are divided by weight, with all available, without
// some, and for clients that have tried one.
func TestShares(t *testing.T) {
	const picks = 100_000
	weights := []int{5, 1, 2, 3, 10, 34, 50, 1}
	for _, c := range []struct {
		name        string
		gone, tried []int
	}{
		{"all", nil, nil},
		{"without two", []int{0, 6}, nil},
		{"without one that was tried", []int{6}, []int{4}},
	} {
		eachChooser(t, func(t *testing.T, name string, o chooserOptions) {
			tab := newTable(name, o, newMembers(weights...))
			sum := 0.0
			for i, w := range weights {
				tab.setAvailable(i, !slices.Contains(c.gone, i))
				if tab.available[i] && !slices.Contains(c.tried, i) {
					sum += float64(w)
				}
			}
			counts := make([]int, len(weights))
			r := rand.New(rand.NewPCG(1, 0))
			for range picks {
				counts[tab.open(request{key: r.Uint64(), tried: c.tried})]++
			}
			if name == "first" {
				first := slices.IndexFunc(tab.available, func(a bool) bool { return a })
				if counts[first] != picks {
					t.Errorf("%s: the first available got %d of %d", c.name, counts[first], picks)
				}
				return
			}
			for i, w := range weights {
				want := 0.0
				if tab.available[i] && !slices.Contains(c.tried, i) {
					want = picks * float64(w) / sum
				}
				if d := math.Abs(float64(counts[i]) - want); d > tolerance(name, picks, float64(w), sum, len(weights)) {
					t.Errorf("%s: weight %d got %d, want %.0f", c.name, w, counts[i], want)
				}
			}
		})
	}
}
