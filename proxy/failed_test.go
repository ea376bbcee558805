package proxy_test

import (
	"slices"
	"testing"
	"time"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// failedAre checks the failed dials of a record: the reasons by the number of the backend, in
// order.
func (r *running) failedAre(record proxy.Record, want ...proxy.FailedDial) {
	r.t.Helper()
	if !slices.Equal(record.Failed, want) {
		r.t.Errorf("failed dials = %v, want %v", record.Failed, want)
	}
}

// TestRecordNamesFailedBackends: some dials fail before one is answered, or all dials fail.
func TestRecordNamesFailedBackends(t *testing.T) {
	refused, timeout := proxy.ReasonConnectRefused, proxy.ReasonConnectTimeout
	enginesTogether(t, func(t *testing.T, engine string) {
		good := testnet.Serve(t, "tcp", "", testnet.Echo)
		backends := []string{testnet.Refusing(t), testnet.Silent(t), good.Addr, testnet.Refusing(t)}
		first := func(s *setup) { s.policy, s.timeout = "first", 50*time.Millisecond }
		t.Run("served_by_the_last", func(t *testing.T) {
			r := start(t, engine, backends, first)
			c := r.dial()
			mustAsk(t, c, "hello")
			c.Close()
			b := r.pool.Balancer.Members()
			r.failedAre(r.ended(1)[0], proxy.FailedDial{Backend: b[0].Backend, Reason: refused}, proxy.FailedDial{Backend: b[1].Backend, Reason: timeout})
		})
		t.Run("served_by_the_first", func(t *testing.T) {
			r := start(t, engine, backends[2:], first)
			c := r.dial()
			mustAsk(t, c, "hello")
			c.Close()
			r.failedAre(r.ended(1)[0])
		})
		t.Run("served_by_none", func(t *testing.T) {
			r := start(t, engine, []string{backends[0], backends[3]}, first)
			_, _ = r.dial().Read(make([]byte, 1))
			record := r.endedOne(proxy.SideBackend, refused, 0, 0)
			if record.Backend != r.pool.Balancer.Members()[1].Backend {
				t.Errorf("backend = %s, want the last one tried", record.Backend.Address)
			}
			r.failedAre(record, proxy.FailedDial{Backend: r.pool.Balancer.Members()[0].Backend, Reason: refused})
		})
		t.Run("waited_for_none", func(t *testing.T) {
			r := start(t, engine, backends[:1], first, queueing(0, 1, 50*time.Millisecond), func(s *setup) {
				s.listener.NoBackend = proxy.QueueClient
			})
			_, _ = r.dial().Read(make([]byte, 1))
			record := r.endedOne(proxy.SideProxy, proxy.ReasonQueueTimeout, 0, 0)
			r.failedAre(record, proxy.FailedDial{Backend: r.pool.Balancer.Members()[0].Backend, Reason: refused})
		})
		t.Run("second_dial_was_faster", func(t *testing.T) {
			r := start(t, engine, backends[1:3], hedging(10*time.Millisecond))
			c := r.dial()
			mustAsk(t, c, "hello")
			c.Close()
			r.failedAre(r.ended(1)[0], proxy.FailedDial{Backend: r.pool.Balancer.Members()[0].Backend, Reason: timeout})
		})
		t.Run("second_dial_refused", func(t *testing.T) {
			r := start(t, engine, backends[1:], hedging(10*time.Millisecond), func(s *setup) {
				s.backends = []string{backends[1], backends[0], backends[2]}
				s.timeout = testnet.Patience
			})
			c := r.dial()
			mustAsk(t, c, "hello")
			c.Close()
			b := r.pool.Balancer.Members()
			r.failedAre(r.ended(1)[0], proxy.FailedDial{Backend: b[1].Backend, Reason: refused}, proxy.FailedDial{Backend: b[0].Backend, Reason: timeout})
		})
	})
}
