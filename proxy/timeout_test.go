package proxy_test

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// The timers of a loop are coarse: at most 17 ms late.
const limit = 100 * time.Millisecond

func TestIdleTimeout(t *testing.T) {
	const limit = 4 * limit // a busy machine may delay the test
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), func(s *setup) { s.listener.Idle = limit })
		c := r.dial()
		peer := b.Accept(t)
		// An occasional byte, in one direction only, keeps a connection open for many times the
		// limit.
		began := time.Now()
		for ticker := time.NewTicker(limit / 4); time.Since(began) < 3*limit; <-ticker.C {
			if _, err := peer.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatalf("closed after %v although bytes move: %v", time.Since(began), err)
			}
		}
		quiet := time.Now()
		for _, end := range []testnet.Conn{c, peer} {
			// No peer has ended its stream, so no peer may see an end.
			if n, err := end.Read(make([]byte, 1)); n != 0 || !testnet.IsReset(err) {
				t.Errorf("an end of an idle connection reads %d bytes, %v; want a reset", n, err)
			}
		}
		if took := time.Since(quiet); took < limit/2 || took > testnet.Patience/4 {
			t.Errorf("an idle connection was closed after %v, want about %v", took, limit)
		}
		record := r.ended(1)[0]
		if !record.Is(proxy.SideProxy, proxy.ReasonIdleTimeout) {
			t.Errorf("outcome = %v %v", record.Side, record.Reason)
		}
	})
}

// TestHalfCloseTimeout: one side ends its stream, and the other neither answers nor closes.
func TestHalfCloseTimeout(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		for _, idle := range []time.Duration{0, time.Hour} {
			for i, first := range sides {
				t.Run(first.String()+"_idle_"+idle.String(), func(t *testing.T) {
					back := testnet.Listen(t, "tcp", "")
					r := start(t, engine, addresses(back), func(s *setup) { s.listener.Idle, s.listener.HalfClose = idle, limit })
					ends := []testnet.Conn{r.dial(), back.Accept(t)}
					mine, other := ends[i], ends[1-i]
					if _, err := mine.Write([]byte("bye")); err != nil {
						t.Fatal(err)
					}
					mine.CloseWrite()
					if got, err := io.ReadAll(other); err != nil || string(got) != "bye" {
						t.Fatalf("the other side reads %q, %v", got, err)
					}
					// The open direction still works, and its bytes count as activity.
					if _, err := other.Write([]byte("still here")); err != nil {
						t.Fatal(err)
					}
					if got, err := io.ReadAll(mine); !testnet.IsReset(err) || string(got) != "still here" {
						t.Errorf("the first side, which waits for more, reads %q, %v; want a reset behind it", got, err)
					}
					// The peer has already read the FIN: only a reset can end its connection.
					testnet.Eventually(t, "the silent side learns of the end", func() bool {
						_, err := other.Write([]byte("x"))
						return testnet.IsReset(err)
					})
					in, out := inOut(first, 3, 10)
					r.endedOne(proxy.SideProxy, proxy.ReasonHalfCloseTimeout, in, out)
				})
			}
		}
	})
}

// TestHalfCloseAfterFailedWrite: a backend reads nothing any more and stays silent. The write to it
// fails without a reset, and half_close, not idle, ends the connection.
func TestHalfCloseAfterFailedWrite(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "unix", t.TempDir()+"/s")
		r := start(t, engine, addresses(b), func(s *setup) { s.listener.HalfClose = limit })
		c := r.dial()
		raw, err := b.Accept(t).(*net.UnixConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_RD) }); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if got := r.ended(1)[0].Outcome; !got.Is(proxy.SideBackend, proxy.ReasonReset) {
			t.Errorf("outcome = %v %v", got.Side, got.Reason)
		}
	})
}
