package proxy

import (
	"testing"

	"l4proxy/backend"
	"l4proxy/internal/testnet"
)

// TestManyEndAtOnce ends four times as many connections at once as there is room for records:
// either all connections or those of one backend. Each has its record. If the log blocks, the
// connections still end, and lost records are counted.
func TestManyEndAtOnce(t *testing.T) {
	const kept, many = 16, 4 * 16
	insideEngines(t, func(t *testing.T, engine string) {
		for name, end := range map[string]func(in *inside, b *backend.Backend){
			"all":        func(in *inside, _ *backend.Backend) { in.server.EndAll(ReasonStopped) },
			"a pool's":   func(in *inside, b *backend.Backend) { in.server.Evict(Evict{Backend: b, Reason: ReasonStopped}) },
			"log blocks": func(in *inside, _ *backend.Backend) { in.server.EndAll(ReasonStopped) },
		} {
			t.Run(name, func(t *testing.T) {
				block := make(chan struct{})
				b := testnet.Serve(t, "tcp", "", testnet.Echo)
				in := startInside(t, engine, b, func(_ *Listener, o *Options) {
					o.recordsKept = kept
					finished := o.Finished
					o.Finished = func(r *Record) {
						<-block
						finished(r)
					}
				})
				for range many {
					echoes(t, testnet.Dial(t, "tcp", in.addr))
				}
				end(in, in.listener().Pool.Balancer.Members()[0].Backend)
				allEnd := func() {
					testnet.Eventually(t, "all have ended", func() bool {
						in.jump(sliceEvery)
						return in.server.Connections() == 0
					})
				}
				in.jump(sliceEvery) // it has begun
				wantLost := name == "log blocks"
				if wantLost {
					allEnd()
				}
				close(block)
				allEnd()
				lost := int(in.server.Dropped())
				in.ended(many-lost, SideProxy, ReasonStopped)
				if (lost > 0) != wantLost {
					t.Errorf("%d records were lost", lost)
				}
			})
		}
	})
}

// TestLossesAreReported: the first loss is reported at once, later ones as a sum after a while, and
// no loss twice.
func TestLossesAreReported(t *testing.T) {
	r := ring[Record]{kept: 2}
	for _, step := range []struct {
		ended   int
		records int
		lost    uint64
	}{
		{ended: 0},
		{ended: 2, records: 2},
		{ended: 5, records: 2, lost: 3},
		{ended: 0},
		{ended: 3, records: 2, lost: 1},
	} {
		for range step.ended {
			r.next()
		}
		r.publish(func(bool) {})
		records, lost := 0, uint64(0)
		anything := r.drain(r.published.Load(), func(*Record) {
			records++
			if lost != 0 {
				t.Error("a loss is reported before the records that preceded it")
			}
		}, func(n uint64) { lost += n })
		if records != step.records || lost != step.lost || anything != (step.records > 0) {
			t.Errorf("of %d ends: %d records, %d lost, want %d and %d", step.ended, records, lost, step.records, step.lost)
		}
	}
	r.next()
	if r.publish(func(bool) {}); !r.drain(r.published.Load(), func(*Record) {}, func(uint64) { t.Error("a loss is reported twice") }) {
		t.Error("the last record is missing")
	}
}
