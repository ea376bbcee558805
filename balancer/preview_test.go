package balancer

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"l4proxy/backend"
)

// TestPreviewIsWhatIsPicked brings two pools into the same state. Before a client of the first one
// tries all backends, one after another, their order is previewed. The second one shows that the
// preview has changed nothing.
func TestPreviewIsWhatIsPicked(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		rapid.Check(t, func(rt *rapid.T) {
			o := Options{
				Policy: name, Seed: 1, HashSeed: "test",
				MaxLoad:        rapid.SampledFrom([]int{0, 125}).Draw(rt, "max load"),
				SlowStart:      rapid.SampledFrom([]time.Duration{0, 5 * time.Second}).Draw(rt, "slow start"),
				PanicThreshold: rapid.SampledFrom([]int{0, 50}).Draw(rt, "panic"),
				Queue:          rapid.IntRange(0, 2).Draw(rt, "queue"),
			}
			if rapid.Bool().Draw(rt, "outlier") {
				o.Outlier = &Outlier{Failures: 2, Eject: 3 * time.Second, MaxEjected: 100}
			}
			var pools [2]tested
			var backends [2][]*backend.Backend
			weights := rapid.SliceOfN(rapid.IntRange(1, 4), 1, 7).Draw(rt, "weights")
			limit := rapid.SliceOfN(rapid.Int32Range(0, 2), len(weights), len(weights)).Draw(rt, "limits")
			priority := rapid.SliceOfN(rapid.Uint8Range(0, 1), len(weights), len(weights)).Draw(rt, "priorities")
			far := rapid.SliceOfN(rapid.Bool(), len(weights), len(weights)).Draw(rt, "far")
			for k := range pools {
				members := newMembers(weights...)
				for i := range members {
					members[i].MaxConnections, members[i].Priority, members[i].Far = limit[i], priority[i], far[i]
				}
				pools[k], backends[k] = newPolicyWith(t, o, members)
			}
			var open []int
			now := int64(time.Second)
			some := func(rt *rapid.T) int { return rapid.IntRange(0, len(weights)-1).Draw(rt, "backend") }
			each := func(f func(p *Balancer, b *backend.Backend), i int) {
				for k, p := range pools {
					f(p.Balancer, backends[k][i])
				}
			}
			request := func(rt *rapid.T) Request {
				r := Request{Now: now, Client: clientAt(rapid.IntRange(0, 20).Draw(rt, "client"))}
				if rapid.Bool().Draw(rt, "waits") {
					r.Waiter, r.WaitForAny = new(waiter), rapid.Bool().Draw(rt, "for any")
				}
				return r
			}
			pick := func(k int, r Request) (index int, v Verdict) {
				var tried []*backend.Backend
				for _, b := range r.Tried {
					tried = append(tried, backends[k][pools[0].index(b)])
				}
				if r.Waiter != nil {
					r.Waiter = new(waiter)
				}
				r.Tried = tried
				b, v := pools[k].Balancer.Pick(r)
				if v == Waiting {
					pools[k].Leave(r.Waiter)
				}
				if b == nil {
					return -1, v
				}
				return pools[k].index(b), v
			}
			rt.Repeat(map[string]func(*rapid.T){
				"client": func(rt *rapid.T) {
					r := request(rt)
					i, v := pick(0, r)
					if k, w := pick(1, r); k != i || w != v {
						rt.Fatalf("picked %d, %v, and %d, %v without previews", i, v, k, w)
					}
					if i >= 0 {
						open = append(open, i)
					}
				},
				"end": func(rt *rapid.T) {
					if len(open) == 0 {
						rt.Skip("nothing is open")
					}
					k := rapid.IntRange(0, len(open)-1).Draw(rt, "open")
					each(func(p *Balancer, b *backend.Backend) { p.Done(b, now) }, open[k])
					open = slices.Delete(open, k, k+1)
				},
				"fail": func(rt *rapid.T) { each(func(p *Balancer, b *backend.Backend) { p.Failed(b, now, now) }, some(rt)) },
				"ok":   func(rt *rapid.T) { each(func(p *Balancer, b *backend.Backend) { p.OK(b, now) }, some(rt)) },
				"silent": func(rt *rapid.T) {
					s := Silence{Client: clientAt(rapid.IntRange(0, 20).Draw(rt, "client")), Asked: now, Now: now, Once: time.Second}
					each(func(p *Balancer, b *backend.Backend) { p.Silent(b, s) }, some(rt))
				},
				"health": func(rt *rapid.T) {
					h := rapid.SampledFrom([]backend.Health{backend.HealthUp, backend.HealthDown}).Draw(rt, "health")
					each(func(p *Balancer, b *backend.Backend) { p.SetHealth(b, h, now) }, some(rt))
				},
				"admin": func(rt *rapid.T) {
					a := rapid.SampledFrom([]backend.Admin{backend.AdminUp, backend.AdminUp, backend.AdminDrain, backend.AdminDown}).Draw(rt, "admin")
					each(func(p *Balancer, b *backend.Backend) { p.SetAdmin(b, a, now) }, some(rt))
				},
				"time": func(rt *rapid.T) {
					now += int64(rapid.IntRange(0, 3000).Draw(rt, "ms")) * int64(time.Millisecond)
					for _, p := range pools {
						p.Tick(now)
					}
				},
				"preview": func(rt *rapid.T) {
					r := request(rt)
					v := pools[0].Preview(r, 100)
					if again := pools[0].Preview(r, 100); !reflect.DeepEqual(again, v) {
						rt.Fatalf("%+v\nand then %+v", v, again)
					}
					var tried [2][]*backend.Backend
					for n := 0; ; n++ {
						i, verdict := pick(0, r)
						if k, w := pick(1, r); k != i || w != verdict {
							rt.Fatalf("picked %d, %v, and %d, %v without previews", i, verdict, k, w)
						}
						if n == 0 && verdict != v.Verdict {
							rt.Fatalf("the verdict is %v, want %v", verdict, v.Verdict)
						}
						if i < 0 {
							if n != len(v.Order) || verdict != v.After {
								rt.Fatalf("%d backends tried, then %v: %+v", n, verdict, v)
							}
							break
						}
						if n >= len(v.Order) || v.Order[n].Backend != backends[0][i] || v.Order[n].Way == NoWay {
							rt.Fatalf("%d. picked %d: %+v", n+1, i, v)
						}
						each(func(p *Balancer, b *backend.Backend) { p.Done(b, now) }, i)
						for k := range tried {
							tried[k] = append(tried[k], backends[k][i])
						}
						r.Tried = tried[0]
					}
					if all := len(v.Order) + len(v.Rest); all != len(weights) {
						rt.Fatalf("%d of %d backends: %+v", all, len(weights), v)
					}
				},
			})
		})
	})
}

// TestPreviewSaysWhy brings each backend into another condition.
func TestPreviewSaysWhy(t *testing.T) {
	const now = int64(100 * time.Second)
	members := newMembers(1, 1, 1, 1, 1, 1, 2, 1, 1)
	members[5].MaxConnections = 1
	members[8].Priority = 1
	p, b := newPolicyWith(t, Options{Policy: "least_conn", Outlier: &Outlier{Failures: 1, Eject: time.Minute, MaxEjected: 50}}, members)
	p.SetAdmin(b[0], backend.AdminDown, now)
	p.SetAdmin(b[1], backend.AdminDrain, now)
	p.SetHealth(b[2], backend.HealthDown, now)
	p.Silent(b[3], Silence{Asked: now, Now: now})
	_ = p.Update(members, Options{Policy: "least_conn", Outlier: &Outlier{Failures: 9, Eject: time.Minute, MaxEjected: 50}}, now)
	p.Balancer.Failed(b[4], now, now)
	p.Adopt(b[5])
	p.Adopt(b[6])
	p.Adopt(b[7])
	p.SetHealth(b[7], backend.HealthUp, now)

	v := p.Preview(Request{Now: now}, 10)
	want := []struct {
		backend   int
		way       Way
		condition Condition
		until     time.Duration
		score     float64
	}{
		{6, ByPolicy, IsUnknown, 0, 1},
		{7, ByPolicy, IsUp, 0, 2},
		{8, ByPolicy, IsUnknown, 0, 1},
		{3, LastResort, IsEjected, time.Minute, 0},
		{4, LastResort, IsBackedOff, time.Second, 0},
		{0, NoWay, IsDown, 0, 0},
		{1, NoWay, IsDrained, 0, 0},
		{2, NoWay, IsDown, 0, 0},
		{5, NoWay, IsFull, 0, 0},
	}
	got := append(slices.Clone(v.Order), v.Rest...)
	if len(got) != len(want) || len(v.Order) != 5 {
		t.Fatalf("%+v", v)
	}
	for i, w := range want {
		g := got[i]
		until := time.Duration(0)
		if g.Until > 0 {
			until = time.Duration(g.Until - now)
		}
		if g.Backend != b[w.backend] || g.Way != w.way || g.Condition != w.condition || until != w.until || g.Score != w.score {
			t.Errorf("%d. is %+v, until %v; want %+v", i+1, g, until, w)
		}
	}
	if v.Conditions[IsDown] != 2 || v.Conditions[IsUnknown] != 2 || v.Verdict != Picked || v.After != NoBackend {
		t.Errorf("%+v", v)
	}
	// One is due.
	v = p.Preview(Request{Now: now + int64(time.Second)}, 10)
	if first := v.Order[0]; first.Backend != b[4] || first.Way != ByProbe {
		t.Errorf("first is %+v, want the probe", first)
	}
	if b[4].Probing() {
		t.Error("the preview has taken the probe")
	}
}

// TestPreviewIsBounded: of a large pool, the answer has the first ones.
func TestPreviewIsBounded(t *testing.T) {
	for _, name := range Names() {
		p, b := newPolicy(t, name, equal(10_000)...)
		for i := range 1000 {
			p.SetAdmin(b[i], backend.AdminDrain, 1)
		}
		began := time.Now()
		v := p.Preview(Request{Now: 1, Client: clientAt(1)}, 100)
		if len(v.Order) != 100 || len(v.Rest) != 100 || v.After != Picked || v.Conditions[IsDrained] != 1000 || v.Conditions[IsUnknown] != 9000 {
			t.Errorf("%s: %d and %d, %v, %v", name, len(v.Order), len(v.Rest), v.After, v.Conditions)
		}
		t.Logf("%s: %v", name, time.Since(began))
	}
}

// BenchmarkPreview also measures for how long the lock of a large pool is held.
func BenchmarkPreview(b *testing.B) {
	for _, name := range []string{"least_conn", "maglev"} {
		b.Run(name, func(b *testing.B) {
			p, _ := newPolicy(b, name, equal(10_000)...)
			locked, n := time.Duration(0), 0
			for b.Loop() {
				t := makeTwin(10_000)
				began := time.Now()
				t.copy(p.Balancer)
				locked += time.Since(began)
				n++
				p.Preview(Request{Now: 1, Client: clientAt(1)}, 100)
			}
			b.ReportMetric(float64(locked.Microseconds())/float64(n), "locked-us/op")
		})
	}
}
