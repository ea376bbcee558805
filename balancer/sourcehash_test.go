package balancer

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// slowRing is the slow and obvious twin of source_hash: a sorted list of points, all of which are
// looked at.
type slowRing struct {
	*table
	points []slowPoint
}

type slowPoint struct {
	position uint64
	name     string
	i        int
}

func newSlowRing(c *table, s *seed) *slowRing {
	r := &slowRing{table: c}
	sum := uint64(0)
	for _, w := range c.full {
		sum += uint64(w)
	}
	n := len(c.backends)
	for i, b := range c.backends {
		mean := float64(sum) / float64(n)
		for k := range int(math.Round(pointsEach * float64(c.full[i]) / mean)) {
			position := mix(s.backend(b.Address)[0]+uint64(k)*golden) >> rankBits
			r.points = append(r.points, slowPoint{position, b.Address, i})
		}
	}
	slices.SortFunc(r.points, func(a, b slowPoint) int {
		return cmp.Or(cmp.Compare(a.position, b.position), cmp.Compare(a.name, b.name))
	})
	return r
}

// most returns how many connections max_load lets member i have, with one more in all.
func (r *slowRing) most(i, maxLoad int, tried []int) int64 {
	connections, sum := 1, 0
	for k, b := range r.backends {
		if r.available[k] && !slices.Contains(tried, k) {
			connections += int(b.Active())
			sum += int(r.weights[k])
		}
	}
	return int64(math.Ceil(float64(maxLoad*connections*int(r.weights[i])) / float64(100*sum)))
}

// next returns the member of the first point from the key's on, and how many points were looked at.
func (r *slowRing) next(key uint64, maxLoad int, tried []int) (i, points int) {
	at, _ := slices.BinarySearchFunc(r.points, key>>rankBits, func(p slowPoint, position uint64) int {
		return cmp.Compare(p.position, position)
	})
	for k := range r.points {
		i := r.points[(at+k)%len(r.points)].i
		if !r.available[i] || slices.Contains(tried, i) {
			continue
		}
		if maxLoad > 0 && r.backends[i].Active()+1 > r.most(i, maxLoad, tried) {
			continue
		}
		return i, k + 1
	}
	return -1, len(r.points)
}

// TestSourceHashAgreesWithTheSlowRing also holds that no member ever has more connections than
// max_load lets it.
func TestSourceHashAgreesWithTheSlowRing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 5), 1, 6).Draw(rt, "weights")
		maxLoad := rapid.SampledFrom([]int{0, 101, 110, 125, 200, 1000}).Draw(rt, "max_load")
		s := hashSeed("test")
		c := newTable("source_hash", chooserOptions{HashSeed: s, MaxLoad: maxLoad}, newMembers(weights...))
		twin := newSlowRing(c, s)
		index := rapid.IntRange(0, len(weights)-1)
		var open []int
		rt.Repeat(map[string]func(*rapid.T){
			"pick": func(rt *rapid.T) {
				key := rapid.Uint64().Draw(rt, "key")
				tried := rapid.SliceOfN(index, 0, 2).Draw(rt, "tried")
				want, points := twin.next(key, maxLoad, tried)
				i := c.next(request{key: key, tried: tried})
				// Beyond maxWalk slots (one in four repeats a point), any member with room will do.
				if i != want && points < maxWalk/2 {
					rt.Fatalf("next returned %d, want %d", i, want)
				}
				if i < 0 {
					return
				}
				if most := twin.most(i, maxLoad, tried); maxLoad > 0 && c.backends[i].Active()+1 > most {
					rt.Fatalf("member %d gets connection %d, at most are %d", i, c.backends[i].Active()+1, most)
				}
				c.backends[i].Acquire()
				c.picked(i)
				open = append(open, i)
			},
			"close": func(rt *rapid.T) {
				if len(open) > 0 {
					k := rapid.IntRange(0, len(open)-1).Draw(rt, "open")
					c.close(open[k])
					open = slices.Delete(open, k, k+1)
				}
			},
			"come or go": func(rt *rapid.T) {
				i := index.Draw(rt, "index")
				c.setAvailable(i, !c.available[i])
			},
		})
	})
}

// TestRingHoldsThePoints compares the whole ring, and searches at each point and right behind it.
func TestRingHoldsThePoints(t *testing.T) {
	for _, weights := range [][]int{{1}, {3, 1}, {1, 2, 3, 10, 34, 50, 1}} {
		s := hashSeed("test")
		c := newTable("source_hash", chooserOptions{HashSeed: s}, newMembers(weights...))
		twin := newSlowRing(c, s)
		ring := slices.Compact(slices.Clone(c.chooser.(*sourceHash).ring))
		if len(ring) != len(twin.points) {
			t.Fatalf("weights %v have %d points, want %d", weights, len(ring), len(twin.points))
		}
		for k, p := range twin.points {
			if ring[k]>>rankBits != p.position {
				t.Fatalf("point %d is at %#x, want %#x", k, ring[k]>>rankBits, p.position)
			}
			for _, key := range []uint64{p.position<<rankBits | rankMask, (p.position + 1) << rankBits} {
				want, _ := twin.next(key, 0, nil)
				if got := c.next(request{key: key}); got != want {
					t.Fatalf("the key %#x goes to %d, want %d", key, got, want)
				}
			}
		}
	}
}

// TestWalkIsBounded holds that a key goes down the tree when no member is available in the next
// part of the ring.
func TestWalkIsBounded(t *testing.T) {
	const n = 300
	s := hashSeed("test")
	c := newTable("source_hash", chooserOptions{HashSeed: s}, newMembers(equal(n)...))
	for i := range n {
		c.setAvailable(i, i == 3 || i == 200)
	}
	twin, ring := newSlowRing(c, s), c.chooser.(*sourceHash)
	far := 0
	for _, key := range keys(1000) {
		want, points := twin.next(key, 0, nil)
		if points > maxWalk {
			want = int(ring.ranked[ring.descend(key)].index)
			far++
		} else if points > maxWalk/2 {
			continue // some slots repeat a point
		}
		if got := c.next(request{key: key}); got != want {
			t.Fatalf("a key goes to %d, want %d, %d points away", got, want, points)
		}
	}
	if far < 100 {
		t.Errorf("only %d of 1,000 keys were far from both", far)
	}
}

// TestBoundWithFewAvailable drives the bound where hardly any search meets an available member: a
// few of many are available, and two keys come again and again.
func TestBoundWithFewAvailable(t *testing.T) {
	const n, maxLoad = 3000, 101
	s := hashSeed("test")
	c := newTable("source_hash", chooserOptions{HashSeed: s, MaxLoad: maxLoad}, newMembers(equal(n)...))
	for i := range n {
		c.setAvailable(i, i%500 == 7)
	}
	twin := &slowRing{table: c}
	for k := range 600 {
		i := c.next(request{key: uint64(k%2) << 63})
		if most := twin.most(i, maxLoad, nil); c.backends[i].Active()+1 > most {
			t.Fatalf("connection %d makes it %d on one backend, at most are %d", k, c.backends[i].Active()+1, most)
		}
		c.backends[i].Acquire()
		c.picked(i)
	}
}

// TestBoundIsExact compares the products where they pass 64 bits, and where one connection decides.
func TestBoundIsExact(t *testing.T) {
	c := newTable("source_hash", chooserOptions{MaxLoad: 1000}, newMembers(MaxWeight, MaxWeight)).chooser.(*boundedSourceHash)
	for _, x := range []struct {
		active, all uint64
		want        bool
	}{
		{4999, 999, true}, // 1,000 % of half of 1,000 is 5,000
		{5000, 999, false},
		{5000, 1000, true}, // of half of 1,001 is 5,005
		{5004, 1000, true},
		{5005, 1000, false},
		{1 << 44, 1<<43 - 1, true},
		{5<<43 - 1, 1<<43 - 1, true},
		{5 << 43, 1<<43 - 1, false},
	} {
		c.active.total = x.all
		if got := c.hasRoom(part{MaxWeight, x.active}); got != x.want {
			t.Errorf("with %d of %d connections it has room: %t, want %t", x.active, x.all, got, x.want)
		}
	}
}

// renamed returns backends whose names do not depend on how many there are.
func renamed(from int, weights ...int) []Member {
	members := newMembers(weights...)
	for i, b := range members {
		b.Address = fmt.Sprintf("10.0.%d.%d:80", (from+i)/256, (from+i)%256)
	}
	return members
}

// moved returns the part of the keys that go elsewhere in after than in before, though neither is
// the member named by itself.
func moved(before, after *table, one string, keys []uint64) (own, others float64) {
	for _, key := range keys {
		a := before.backends[before.next(request{key: key})].Address
		b := after.backends[after.next(request{key: key})].Address
		switch {
		case a == one || b == one:
			own++
		case a != b:
			others++
		}
	}
	return own / float64(len(keys)), others / float64(len(keys))
}

// TestRingOfANewConfiguration adds a member, or takes it away, which is the same seen from the
// other side. Of one weight, only keys of that member move. If its weight is another than the
// average, the others have more or fewer points than before: as many as the average has changed.
func TestRingOfANewConfiguration(t *testing.T) {
	keys := keys(20_000)
	for _, c := range []struct {
		members, weight, added int
	}{
		{2, 1, 1}, {10, 1, 1}, {100, 7, 7}, {1000, 1, 1},
		{10, 1, 5}, {10, 10, 1}, {100, 1, 100},
		{2000, 1, 1}, // all have fewer points, not to be more in all
	} {
		weights := slices.Repeat([]int{c.weight}, c.members)
		before := newTable("source_hash", chooserOptions{}, renamed(0, weights...))
		after := newTable("source_hash", chooserOptions{}, renamed(0, append(weights, c.added)...))
		own, others := moved(before, after, after.backends[c.members].Address, keys)

		sum := float64(c.members*c.weight + c.added)
		share := float64(c.added) / sum
		points := share * float64(min(c.members*pointsEach, maxPoints))
		if d := math.Abs(own - share); d > 5*math.Hypot(share/math.Sqrt(points), math.Sqrt(share/float64(len(keys)))) {
			t.Errorf("%+v: %.2f %% of the keys went to it, want about %.2f", c, 100*own, 100*share)
		}
		bound := math.Abs(float64(c.added-c.weight)) / sum
		if c.members*pointsEach > maxPoints {
			bound += 1 / float64(c.members+1)
		}
		if bound > 0 {
			bound += 5 * math.Sqrt(bound/float64(len(keys)))
		}
		if others > bound {
			t.Errorf("%+v: %.2f %% of the keys moved among the others, want at most %.2f", c, 100*others, 100*bound)
		}
	}
}

func TestRingMemory(t *testing.T) {
	for n, want := range map[int]int{
		1:      pointsEach * 4 / 3,
		100:    100 * pointsEach * 4 / 3,
		10_000: maxPoints * 4 / 3,
	} {
		c := newTable("source_hash", chooserOptions{}, newMembers(equal(n)...)).chooser.(*sourceHash)
		if got := len(c.ring); got < want*9/10 || got > want*11/10 {
			t.Errorf("%d members have %d slots, want about %d", n, got, want)
		}
	}
}
