package proxy_test

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"l4proxy/balancer"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// TestSilentClientsDoNotEject: 40 clients from 40 addresses send a byte that gets no answer, while
// another client keeps asking on one connection and is answered. The backend is not ejected.
func TestSilentClientsDoNotEject(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			first := make([]byte, 1)
			if _, err := io.ReadFull(c, first); err != nil || first[0] == '?' {
				_, _ = io.Copy(io.Discard, c)
				return
			}
			_, _ = c.Write(first)
			testnet.Echo(c)
		})
		const firstByte = 200 * time.Millisecond
		r := start(t, engine, addresses(b), func(s *setup) {
			s.balance = func(o *balancer.Options) {
				o.Outlier = &balancer.Outlier{Failures: 3, Eject: time.Hour, MaxEjected: 100}
			}
			s.pooled = func(p *proxy.Pool) { p.FirstByte = firstByte }
		})
		busy := r.dial()
		mustAsk(t, busy, "hello")
		for i := range 40 {
			c := testnet.DialFrom(t, netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i)}).String(), r.addr)
			if _, err := io.WriteString(c, "?"); err != nil {
				t.Fatal(err)
			}
		}
		for began := time.Now(); time.Since(began) < 2*firstByte; {
			mustAsk(t, busy, "hello")
		}
		if r.pool.Balancer.Members()[0].Ejected() {
			t.Error("ejected although it answers")
		}
	})
}

// TestFirstByteIsLate: a backend that accepts connections hangs. It is ejected while its clients
// wait, and the other backend serves the next client. Waiting clients get their answer when the
// backend continues.
func TestFirstByteIsLate(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
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
		hangs := r.pool.Balancer.Members()[0].Backend
		testnet.Eventually(t, "the backend that hangs is ejected", func() bool {
			c := r.dial() // clients keep coming; one that comes after the failures decides
			if _, err := io.WriteString(c, "hello"); err != nil {
				t.Fatal(err)
			}
			waiting = append(waiting, c)
			return hangs.Ejected()
		})
		testnet.Eventually(t, "all have a backend", func() bool { return bad.Accepted()+good.Accepted() == len(waiting) })
		before := good.Accepted()
		mustAsk(t, r.dial(), "next")
		if good.Accepted() != before+1 {
			t.Error("the next client is not with the other backend")
		}
		close(goOn)
		for _, c := range waiting {
			answer := make([]byte, 5)
			if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "hello" {
				t.Errorf("a client that waited got %q, %v", answer, err)
			}
		}
	})
}
