package proxy

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/internal/testnet"
)

// TestManyEndAtOnce ends four times as many connections at once as there is room for records, either all of them or those
// of one backend: each has its record. If the log blocks, the connections still end, and lost records are counted.
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
				end(in, in.listener().Pool.Members[0].Backend)
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

// TestLossesAreReported: the first loss is reported at once, later ones as a sum after a while, and none twice.
func TestLossesAreReported(t *testing.T) {
	var log strings.Builder
	s := &Server{log: slog.New(slog.NewTextHandler(&log, nil)), workers: []*worker{{}}}
	lost := &s.workers[0].records.dropped
	losses, now := lossLog{}, int64(time.Hour)
	for _, step := range []struct {
		after time.Duration
		lost  uint64
		want  string
		next  time.Duration
	}{
		{0, 0, "", limitEvery},
		{time.Second, 5, "count=5", limitEvery},
		{time.Second, 3, "", limitEvery - time.Second},
		{limitEvery, 4, "count=7", limitEvery},
		{limitEvery, 0, "", limitEvery},
	} {
		now += int64(step.after)
		lost.Add(step.lost)
		if next := losses.report(s, now); next != step.next {
			t.Errorf("after %d more: the next look in %v, want %v", step.lost, next, step.next)
		}
		if got := log.String(); !strings.Contains(got, step.want) || step.want == "" && got != "" {
			t.Errorf("after %d more: logged %q, want %q", step.lost, got, step.want)
		}
		log.Reset()
	}
}
