package proxy_test

import (
	"io"
	"testing"
	"time"

	"l4proxy/balancer"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// TestFirstByteIsLate has a backend hang that takes connections: it is ejected while its clients wait, the next client
// is served by the other one, and those who wait get their answer when it goes on.
func TestFirstByteIsLate(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		goOn := make(chan struct{})
		bad := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			<-goOn
			testnet.Echo(c)
		})
		good := testnet.Serve(t, "tcp", "", testnet.Echo)
		const failures = 3
		r := start(t, engine, addresses(bad, good), func(s *setup) {
			s.policy = "first"
			s.balance = func(o *balancer.Options) {
				o.Outlier = &balancer.Outlier{Failures: failures, Eject: time.Hour, MaxEjected: 50}
			}
			s.pooled = func(p *proxy.Pool) { p.FirstByte = 20 * time.Millisecond }
		})
		var waiting []testnet.Conn
		for range failures {
			c := r.dial()
			if _, err := io.WriteString(c, "hello"); err != nil {
				t.Fatal(err)
			}
			waiting = append(waiting, c)
		}
		hangs := r.pool.Backends[0]
		testnet.Eventually(t, "the backend that hangs is ejected", hangs.Ejected)
		mustAsk(t, r.dial(), "next")
		if good.Accepted() != 1 {
			t.Error("the next client is not with the other backend")
		}
		close(goOn)
		for _, c := range waiting {
			answer := make([]byte, 5)
			if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "hello" {
				t.Errorf("who waited got %q, %v", answer, err)
			}
		}
	})
}
