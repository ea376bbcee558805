package proxy_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// kill ends connections and expects that number to have ended.
func (r *running) kill(n int, f proxy.ConnFilter) {
	r.t.Helper()
	result, err := r.server.Kill(context.Background(), proxy.Kill{ConnFilter: f})
	if err != nil || result.Matched != n || result.Killed != n {
		r.t.Fatalf("%+v: %+v, %v, want %d ended", f, result, err, n)
	}
}

// TestKillByFilter: each filter ends what it selects, and each of them leaves one record with its
// counts.
func TestKillByFilter(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			name   string
			filter func(r *running, backends []string) proxy.ConnFilter
			ends   int
		}{
			{"all", func(*running, []string) proxy.ConnFilter { return proxy.ConnFilter{} }, 4},
			{"listener", func(*running, []string) proxy.ConnFilter { return proxy.ConnFilter{Listener: "local"} }, 1},
			{"pool", func(*running, []string) proxy.ConnFilter { return proxy.ConnFilter{Pool: "back"} }, 4},
			{"backend", func(_ *running, b []string) proxy.ConnFilter { return proxy.ConnFilter{Backend: b[0]} }, 2},
			{"from", func(*running, []string) proxy.ConnFilter {
				return proxy.ConnFilter{From: netip.MustParsePrefix("127.0.0.2/32")}
			}, 1},
			{"id", func(r *running, _ []string) proxy.ConnFilter {
				return proxy.ConnFilter{ID: r.list(proxy.ConnQuery{Hurry: true})[0].ID}
			}, 1},
			{"old and idle", func(r *running, _ []string) proxy.ConnFilter {
				f := proxy.ConnFilter{OlderThan: time.Millisecond, Idle: time.Millisecond}
				r.listed(4, f)
				return f
			}, 4},
			{"none", func(*running, []string) proxy.ConnFilter { return proxy.ConnFilter{OlderThan: time.Hour} }, 0},
		} {
			t.Run(test.name, func(t *testing.T) {
				r, backends, clients := mixed(t, engine)
				r.listed(4, proxy.ConnFilter{})
				f := test.filter(r, backends)
				r.kill(test.ends, f)
				for _, record := range r.ended(test.ends) {
					r.expect(record, proxy.SideProxy, proxy.ReasonKilled, 5, 5)
				}
				counts := r.server.Counts().Listeners
				if n := counts[0].Ended(proxy.SideProxy, proxy.ReasonKilled) + counts[1].Ended(proxy.SideProxy, proxy.ReasonKilled); n != uint64(test.ends) {
					t.Errorf("%d are counted, want %d", n, test.ends)
				}
				ended := 0
				for _, c := range clients {
					if _, err := ask(c, "still there"); err != nil {
						ended++
					}
				}
				if ended != test.ends {
					t.Errorf("%d clients were ended, want %d", ended, test.ends)
				}
			})
		}
	})
}

// TestKillDryRun counts and shows connections, and ends none.
func TestKillDryRun(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		r, _, clients := mixed(t, engine)
		result, err := r.server.Kill(t.Context(), proxy.Kill{DryRun: true, Rate: 0.5, Sample: 2, Done: func(proxy.KillReport) { t.Error("a dry run was done") }})
		if err != nil || result.Matched != 4 || result.Killed != 0 || len(result.Sample) != 2 || result.Left != 6*time.Second {
			t.Errorf("%+v, %v", result, err)
		}
		for _, c := range clients {
			mustAsk(t, c, "spared")
		}
	})
}

// TestKillRate ends connections one after another, the oldest first.
func TestKillRate(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		clients := r.crowd(12)
		done := make(chan proxy.KillReport, 1)
		result, err := r.server.Kill(t.Context(), proxy.Kill{Rate: 20, Done: func(k proxy.KillReport) { done <- k }})
		if err != nil || result.Matched != 12 || result.Killed != 0 || result.Left != 550*time.Millisecond {
			t.Errorf("%+v, %v", result, err)
		}
		report := <-done
		if report.Killed != 12 || report.Spared != 0 || report.Err != nil || report.Took < 500*time.Millisecond {
			t.Errorf("%+v", report)
		}
		records := r.ended(12)
		ends := func(i int) time.Duration { return records[i].Accepted + records[i].Duration }
		slices.SortFunc(records, func(a, b proxy.Record) int { return int(a.Accepted + a.Duration - b.Accepted - b.Duration) })
		for i := 6; i < len(records); i++ {
			if over := ends(i) - ends(i-6); over < 200*time.Millisecond {
				t.Errorf("7 ended within %v", over)
			}
		}
		if first := records[0].Client.Port(); first != port(clients[0]) {
			t.Errorf("the first to end was not the oldest")
		}
	})
}

// TestKillSpares: a connection that no longer matches when its turn comes is spared.
func TestKillSpares(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		clients := r.crowd(3)
		const idle = 300 * time.Millisecond
		r.listed(3, proxy.ConnFilter{Idle: idle})
		done := make(chan proxy.KillReport, 1)
		result, err := r.server.Kill(t.Context(), proxy.Kill{ConnFilter: proxy.ConnFilter{Idle: idle}, Rate: 4, Done: func(k proxy.KillReport) { done <- k }})
		if err != nil || result.Matched != 3 {
			t.Fatalf("%+v, %v", result, err)
		}
		clients[1].Close() // before its turn, 250 ms later
		for over := false; !over; {
			select {
			case report := <-done:
				if over = true; report.Killed != 1 || report.Spared != 2 {
					t.Errorf("%+v", report)
				}
			default:
				mustAsk(t, clients[2], "busy")
			}
		}
		mustAsk(t, clients[2], "spared")
	})
}

// TestKillAnyState: whatever a connection does, it is ended. Its peers read a reset if bytes were
// cut short, otherwise a FIN.
func TestKillAnyState(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		reads := func(t *testing.T, c testnet.Conn, reset bool) {
			t.Helper()
			if _, err := io.Copy(io.Discard, c); testnet.IsReset(err) != reset || !reset && err != nil {
				t.Errorf("read %v, reset: %v", err, reset)
			}
		}
		killed := func(t *testing.T, r *running, state proxy.ConnState) {
			t.Helper()
			testnet.Eventually(t, "the connection is "+string(state), func() bool {
				all := r.list(proxy.ConnQuery{Hurry: true})
				return len(all) == 1 && all[0].State == state
			})
			r.kill(1, proxy.ConnFilter{})
			if record := r.ended(1)[0]; !record.Is(proxy.SideProxy, proxy.ReasonKilled) {
				t.Errorf("outcome = %v %v", record.Side, record.Reason)
			}
			if n := r.pool.Balancer.Members()[0].Active(); n != 0 {
				t.Errorf("%d are counted on the backend", n)
			}
			r.kill(0, proxy.ConnFilter{})
		}
		t.Run("half-closed", func(t *testing.T) {
			r, c, s := pair(t, engine, proxy.SideClient)
			_ = c.CloseWrite()
			reads(t, s, false)
			killed(t, r, proxy.ConnHalfClosed)
			reads(t, c, true)
		})
		t.Run("dialling", func(t *testing.T) {
			r := start(t, engine, []string{testnet.Silent(t)})
			c := r.dial()
			killed(t, r, proxy.ConnConnecting)
			reads(t, c, false)
		})
		t.Run("dialling, after the client has sent", func(t *testing.T) {
			r := start(t, engine, []string{testnet.Silent(t)})
			c := r.dial()
			if _, err := io.WriteString(c, "a request"); err != nil {
				t.Fatal(err)
			}
			testnet.Eventually(t, "the bytes have arrived", func() bool { return testnet.Unacknowledged(t, c) == 0 })
			killed(t, r, proxy.ConnConnecting)
			reads(t, c, true)
		})
		t.Run("queued", func(t *testing.T) {
			b := testnet.Listen(t, "tcp", "")
			r := start(t, engine, addresses(b), queueing(1, 10, testnet.Patience))
			r.dial()
			b.Accept(t)
			waits := r.dial()
			r.waiting(1)
			var id string
			for _, c := range r.listed(2, proxy.ConnFilter{}) {
				if c.State == proxy.ConnQueued {
					id = c.ID
				}
			}
			r.kill(1, proxy.ConnFilter{ID: id})
			reads(t, waits, false)
			r.waiting(0)
			r.endedOne(proxy.SideProxy, proxy.ReasonKilled, 0, 0)
		})
		t.Run("bulk", func(t *testing.T) {
			r, c, s := pair(t, engine, proxy.SideClient)
			sending := make(chan error, 1)
			go func() { sending <- testnet.Stream(1).Send(c, 1<<40, 1<<16) }()
			if _, err := io.ReadFull(s, make([]byte, 4<<20)); err != nil {
				t.Fatal(err)
			}
			// The receiver reads no more, so bytes wait in the proxy.
			r.listed(1, proxy.ConnFilter{Idle: 50 * time.Millisecond})
			r.kill(1, proxy.ConnFilter{})
			reads(t, s, true)
			if record := r.ended(1)[0]; !record.Is(proxy.SideProxy, proxy.ReasonKilled) || record.BytesIn < 4<<20 {
				t.Errorf("record: %+v", record)
			}
			if err := <-sending; !testnet.IsReset(err) {
				t.Errorf("the sender got %v", err)
			}
		})
	})
}

// TestKillAdmitsTheQueue: a kill frees a slot on the backend for the client that waits.
func TestKillAdmitsTheQueue(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), queueing(1, 10, testnet.Patience))
		c := r.dial()
		mustAsk(t, c, "hello")
		waits := r.dial()
		r.waiting(1)
		r.kill(1, proxy.ConnFilter{Backend: b.Addr})
		mustAsk(t, waits, "served")
	})
}

// TestKillBounds: kills are limited in number and in time, and end with the server.
func TestKillBounds(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		r.crowd(40)
		done := make(chan proxy.KillReport, 10)
		k := proxy.Kill{Rate: 0.1, Done: func(k proxy.KillReport) { done <- k }}
		for range 4 {
			if _, err := r.server.Kill(t.Context(), k); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.server.Kill(t.Context(), k); !errors.Is(err, proxy.ErrKillsBusy) {
			t.Errorf("a fifth kill: %v", err)
		}
		k.Rate = 1. / 3600
		if result, err := r.server.Kill(t.Context(), k); !errors.Is(err, proxy.ErrKillTooLong) || result.Left < time.Hour {
			t.Errorf("a long kill: %+v, %v", result, err)
		}
		r.server.Stop()
		for range 4 {
			if report := <-done; report.Err == nil || report.Killed > 4 {
				t.Errorf("%+v", report)
			}
		}
	})
}

// TestKillAndHandOver: a kill ends when another server has taken over the connections. It continues
// if they come back.
func TestKillAndHandOver(t *testing.T) {
	enginePairsTogether(t, func(t *testing.T, from, to string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		one, two := start(t, from, addresses(b)), start(t, to, addresses(b))
		one.crowd(10)
		done := make(chan proxy.KillReport, 1)
		k := proxy.Kill{Rate: 20, Done: func(k proxy.KillReport) { done <- k }}
		if _, err := one.server.Kill(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		testnet.Eventually(t, "some have ended", func() bool { return len(one.records.all()) > 2 })
		if _, err := one.server.HandOver(t.Context(), func([]proxy.Moved) error { return errNoDelivery }); !errors.Is(err, errNoDelivery) {
			t.Fatal(err)
		}
		if report := <-done; report.Killed != 10 || report.Err != nil {
			t.Errorf("after a hand-over that failed: %+v", report)
		}
		clients := one.crowd(10)
		k.Rate = 5
		if _, err := one.server.Kill(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		testnet.Eventually(t, "some have ended", func() bool { return len(one.records.all()) > 11 })
		one.handOver(two)
		report := <-done
		if !errors.Is(report.Err, proxy.ErrHandedOver) || report.Killed < 2 || report.Killed >= 10 {
			t.Errorf("%+v", report)
		}
		two.listed(10-report.Killed, proxy.ConnFilter{})
		one.dial() // the upgrade was called off after that, so it serves again
		one.listed(1, proxy.ConnFilter{})
		one.kill(1, proxy.ConnFilter{})
		for _, c := range clients[report.Killed:] {
			mustAsk(t, c, "moved")
		}
	})
}
