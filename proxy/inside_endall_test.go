package proxy

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/internal/testnet"
)

func (in *inside) backend() *backend.Backend { return in.server.state.Listeners[0].Pool.Backends[0] }

// crowd makes n relaying connections on the first loop. Only the last one has a socket, that of its client.
func (in *inside) crowd(n int) {
	in.t.Helper()
	w, l := in.server.workers[0], in.server.state.Listeners[0]
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		in.t.Fatal(err)
	}
	in.on(w, func() {
		last := uint32(0)
		for range n {
			index, c := w.takeConn()
			c.state, c.listener, c.backend = stateRelaying, l, in.backend()
			c.flow[client].ended, c.flow[server].ended = flowFIN, flowFIN
			w.takePlace(l)
			w.load.Add(1)
			last = max(last, index)
		}
		w.loop.Attach(slotOf(last, client), fd)
		w.conn(last).flags |= flagClient
	})
}

// TestManyEndAtOnce ends four times as many connections at once as there is room for records, either all of them or those
// of one backend, while the log is busy with others: each has its record. If the log blocks, the connections still end,
// and lost records are counted.
func TestManyEndAtOnce(t *testing.T) {
	const many = 4 * recordsKept
	insideEngines(t, func(t *testing.T, engine string) {
		for name, end := range map[string]func(in *inside){
			"all":        func(in *inside) { in.server.EndAll(ReasonStopped) },
			"a pool's":   func(in *inside) { in.server.Evict(Evict{Backend: in.backend(), Reason: ReasonStopped}) },
			"log blocks": func(in *inside) { in.server.EndAll(ReasonStopped) },
		} {
			t.Run(name, func(t *testing.T) {
				block := make(chan struct{})
				in := startInside(t, engine, testnet.Listen(t, "tcp", ""), func(_ *Listener, o *Options) {
					told := o.Finished
					o.Finished = func(r *Record) {
						<-block
						told(r)
					}
				})
				in.crowd(many)
				end(in)
				in.on(in.server.workers[0], func() {}) // it has begun
				wantLost := name == "log blocks"
				if wantLost {
					testnet.Eventually(t, "all have ended", func() bool { return in.server.Connections() == 0 })
				}
				close(block)
				testnet.Eventually(t, "all have ended", func() bool { return in.server.Connections() == 0 })
				lost := int(in.server.Dropped())
				in.ended(many-lost, Outcome{SideProxy, ReasonStopped})
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
