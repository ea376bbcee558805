package balancer

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"l4proxy/backend"
)

// modelled is a backend of the slow and obvious twin of least_conn.
type modelled struct {
	weight   int
	active   int
	pick     int // when it was last picked or became available
	failures int
	until    int64
	probing  bool
	asked    int // when it was last in backoff or tried
}

// model scans all backends at each pick.
type model struct {
	backends []modelled
	step     int
}

// best returns the candidate that comes before all others, or -1.
func (m *model) best(candidate func(i int) bool, before func(a, b *modelled) bool) int {
	found := -1
	for i := range m.backends {
		if candidate(i) && (found < 0 || before(&m.backends[i], &m.backends[found])) {
			found = i
		}
	}
	return found
}

func (m *model) pick(now int64, tried []int) int {
	m.step++
	isTried := func(i int) bool {
		for _, k := range tried {
			if k == i {
				return true
			}
		}
		return false
	}
	due := func(i int) bool { return m.backends[i].failures > 0 && m.backends[i].until <= now }
	found := -1
	if len(tried) == 0 {
		found = m.best(due, func(a, b *modelled) bool {
			if a.until != b.until {
				return a.until < b.until
			}
			return a.asked < b.asked
		})
	}
	if found < 0 {
		found = m.best(func(i int) bool { return m.backends[i].failures == 0 && !isTried(i) },
			func(a, b *modelled) bool {
				if x, y := (a.active+1)*b.weight, (b.active+1)*a.weight; x != y {
					return x < y
				}
				return a.pick < b.pick
			})
	}
	if found < 0 {
		found = m.best(func(i int) bool { return m.backends[i].failures > 0 && !isTried(i) },
			func(a, b *modelled) bool { return a.asked < b.asked })
	}
	if found < 0 {
		return -1
	}
	b := &m.backends[found]
	if due(found) {
		b.probing = true
		b.until = now + int64(backend.ProbeLease)
	}
	b.active++
	b.pick = m.step
	b.asked = m.step
	return found
}

func (m *model) failed(i int, now int64) {
	m.step++
	b := &m.backends[i]
	if b.failures > 0 && !b.probing {
		return
	}
	b.failures++
	b.probing = false
	b.until = now + int64(min(time.Second<<(b.failures-1), 30*time.Second))
	b.asked = m.step
}

func (m *model) ok(i int) {
	m.step++
	if b := &m.backends[i]; b.failures > 0 {
		b.failures, b.probing, b.until, b.pick = 0, false, 0, m.step
	}
}

func (m *model) done(i int) {
	b := &m.backends[i]
	b.active--
	if b.active == 0 && b.probing {
		b.probing, b.until = false, 0
	}
}

// attempt is a connection of the test that has been picked and is not done.
type attempt struct {
	index int
	tried []int
}

func TestLeastConnAgreesWithTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 5), 1, 6).Draw(rt, "weights")
		p, backends := newPolicy(t, "least_conn", weights...)
		m := &model{step: len(weights)}
		for i, w := range weights {
			m.backends = append(m.backends, modelled{weight: w, pick: i})
		}
		var open []attempt
		now := int64(0)

		pick := func(tried []int) {
			var pointers []*backend.Backend
			for _, i := range tried {
				pointers = append(pointers, backends[i])
			}
			got := -1
			if b := p.Pick(now, pointers); b != nil {
				got = p.index(b)
			}
			if want := m.pick(now, tried); got != want {
				rt.Fatalf("at %v, tried %v: picked %d, want %d of %+v", time.Duration(now), tried, got, want, m.backends)
			}
			if got >= 0 {
				open = append(open, attempt{got, append(tried[:len(tried):len(tried)], got)})
			}
		}
		// some returns one of the open attempts.
		some := func(rt *rapid.T) int {
			if len(open) == 0 {
				rt.Skip("nothing is open")
			}
			return rapid.IntRange(0, len(open)-1).Draw(rt, "attempt")
		}
		end := func(k int) {
			m.done(open[k].index)
			p.Done(backends[open[k].index])
			open = append(open[:k], open[k+1:]...)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"pick": func(*rapid.T) { pick(nil) },
			"ok": func(rt *rapid.T) {
				i := open[some(rt)].index
				m.ok(i)
				p.OK(backends[i])
			},
			"done": func(rt *rapid.T) { end(some(rt)) },
			"fail and try another": func(rt *rapid.T) {
				k := some(rt)
				a := open[k]
				m.failed(a.index, now)
				p.Failed(backends[a.index], now)
				end(k)
				pick(a.tried)
			},
			"wait": func(rt *rapid.T) {
				now += rapid.SampledFrom([]int64{1, second / 3, second, 5 * second, 40 * second}).Draw(rt, "for")
			},
			"": func(rt *rapid.T) {
				for i, b := range backends {
					w := m.backends[i]
					if b.Active() != int64(w.active) || b.Failures() != w.failures ||
						b.BackoffUntil() != w.until || b.Probing() != w.probing {
						rt.Fatalf("backend %d has %d active, %d failures, backoff until %d, probing %t, want %+v",
							i, b.Active(), b.Failures(), b.BackoffUntil(), b.Probing(), w)
					}
				}
			},
		})
		for len(open) > 0 {
			end(0)
		}
		for _, b := range backends {
			if b.Active() != 0 {
				rt.Fatalf("%s has %d connections after all are done", b.Address, b.Active())
			}
		}
	})
}
