package proxy_test

import (
	"io"
	"testing"
	"time"

	"l4proxy/balancer"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// hung is a pool whose backends are ejected for connections that wait for a first byte for d.
func hung(d time.Duration, failures int) func(*setup) {
	return func(s *setup) {
		s.policy = "first"
		s.balance = func(o *balancer.Options) {
			o.Outlier = &balancer.Outlier{Failures: failures, Eject: time.Hour, MaxEjected: 50}
		}
		s.pooled = func(p *proxy.Pool) { p.FirstByte = d }
	}
}

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
		r := start(t, engine, addresses(bad, good), hung(20*time.Millisecond, failures))
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

// TestFirstByteIsCountedOnce leaves one client waiting for many looks, until it gives up: one failure.
func TestFirstByteIsCountedOnce(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b1, b2 := testnet.Listen(t, "tcp", ""), testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b1, b2), hung(10*time.Millisecond, 2))
		dial := func(said string) testnet.Conn {
			c := r.dial()
			if _, err := io.WriteString(c, said); err != nil {
				t.Fatal(err)
			}
			b1.Accept(t)
			return c
		}
		hangs := r.pool.Backends[0]
		c := dial("hello")
		testnet.Eventually(t, "one failure is counted", hangs.Suspect)
		// Meanwhile both are looked at again and again.
		silent := dial("")
		began := time.Now()
		testnet.Eventually(t, "some looks have passed", func() bool { return time.Since(began) > 50*time.Millisecond })
		if err := testnet.Reset(c); err != nil {
			t.Fatal(err)
		}
		r.ended(1)
		if hangs.Ejected() {
			t.Error("one client that waits, or one that says nothing, has counted as two")
		}
		silent.Close()
		dial("another")
		testnet.Eventually(t, "the second failure ejects", hangs.Ejected)
	})
}
