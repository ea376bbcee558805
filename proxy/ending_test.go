package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// pair connects a client through the proxy to a backend and returns both ends in the order that a
// test wants: first the client, or first the backend.
func pair(t *testing.T, engine string, first proxy.Side) (r *running, a, b testnet.Conn) {
	t.Helper()
	back := testnet.Listen(t, "tcp", "")
	r = start(t, engine, addresses(back))
	c := r.dial()
	s := back.Accept(t)
	if first == proxy.SideClient {
		return r, c, s
	}
	return r, s, c
}

var sides = []proxy.Side{proxy.SideClient, proxy.SideBackend}

// inOut puts two counts, of the first side's bytes and the other's, in the order of a Record.
func inOut(first proxy.Side, ofFirst, ofOther int64) (in, out int64) {
	if first == proxy.SideClient {
		return ofFirst, ofOther
	}
	return ofOther, ofFirst
}

// TestHalfClose: one side ends its stream, and the other answers after it has seen that.
func TestHalfClose(t *testing.T) {
	const request, answer = testnet.Stream(3), testnet.Stream(4)
	engines(t, func(t *testing.T, engine string) {
		for _, first := range sides {
			for _, n := range []int64{0, 1, 100_003, largest() / 16} {
				t.Run(fmt.Sprintf("%v_first_%d", first, n), func(t *testing.T) {
					r, a, b := pair(t, engine, first)
					both(t, func() error {
						if err := errors.Join(request.Send(a, n, 16385, 1), a.CloseWrite()); err != nil {
							return err
						}
						return answer.CheckExactly(a, n+7, 1447, 65537)
					}, func() error {
						if err := request.CheckExactly(b, n, 1<<16); err != nil {
							return err
						}
						return errors.Join(answer.Send(b, n+7, 65537), b.CloseWrite())
					})
					in, out := inOut(first, n, n+7)
					r.endedOne(first, proxy.ReasonClosed, in, out)
				})
			}
		}
	})
}

// TestReset: one side sends, and resets when all has been acknowledged. The other side gets the
// bytes, then the reset.
func TestReset(t *testing.T) {
	const s = testnet.Stream(5)
	engines(t, func(t *testing.T, engine string) {
		for _, first := range sides {
			for _, n := range []int64{0, 1, 16384, 100_003, 1 << 20, largest() / 16} {
				t.Run(fmt.Sprintf("%v_after_%d", first, n), func(t *testing.T) {
					r, a, b := pair(t, engine, first)
					both(t, func() error {
						if err := s.Send(a, n, 65537); err != nil {
							return err
						}
						testnet.Eventually(t, "all acknowledged", func() bool { return testnet.Unacknowledged(t, a) == 0 })
						return testnet.Reset(a)
					}, func() error {
						got, err := s.Check(b, 1447)
						if got != n || !testnet.IsReset(err) {
							return fmt.Errorf("got %d of %d bytes, then %v instead of a reset", got, n, err)
						}
						return nil
					})
					in, out := inOut(first, n, 0)
					r.endedOne(first, proxy.ReasonReset, in, out)
				})
			}
		}
	})
}

// TestResetBeforeReading resets while the other side has not read anything yet.
func TestResetBeforeReading(t *testing.T) {
	const s, n = testnet.Stream(6), 300_007
	engines(t, func(t *testing.T, engine string) {
		for _, first := range sides {
			t.Run(first.String(), func(t *testing.T) {
				r, a, b := pair(t, engine, first)
				if err := s.Send(a, n, 16384); err != nil {
					t.Fatal(err)
				}
				testnet.Eventually(t, "all acknowledged", func() bool { return testnet.Unacknowledged(t, a) == 0 })
				testnet.Reset(a)
				if got, err := s.Check(b, 4096); got != n || !testnet.IsReset(err) {
					t.Errorf("got %d of %d bytes, then %v instead of a reset", got, n, err)
				}
				in, out := inOut(first, n, 0)
				r.endedOne(first, proxy.ReasonReset, in, out)
			})
		}
	})
}

// TestResetAfterHalfClose: one side ends its stream, and the other resets instead of answering.
func TestResetAfterHalfClose(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, first := range sides {
			t.Run(first.String(), func(t *testing.T) {
				r, a, b := pair(t, engine, first)
				a.CloseWrite()
				if _, err := io.Copy(io.Discard, b); err != nil {
					t.Fatal(err)
				}
				testnet.Reset(b)
				if _, err := a.Read(make([]byte, 1)); !testnet.IsReset(err) {
					t.Errorf("%v instead of a reset", err)
				}
				if got := r.ended(1)[0].Reason; got != proxy.ReasonReset {
					t.Errorf("reason = %v", got)
				}
			})
		}
	})
}

// TestResetDuringBulk: the reader resets while bytes are on their way to it, in one direction and
// in both.
func TestResetDuringBulk(t *testing.T) {
	const s, back = testnet.Stream(7), testnet.Stream(8)
	engines(t, func(t *testing.T, engine string) {
		for _, first := range sides {
			for _, way := range []string{"one_way", "both_ways"} {
				t.Run(fmt.Sprintf("%v_%s", first, way), func(t *testing.T) {
					r, a, b := pair(t, engine, first)
					sending := make(chan error, 1)
					if way == "both_ways" {
						go func() { sending <- back.Send(a, 1<<40, 65537) }()
						go io.Copy(io.Discard, b)
					}
					both(t, func() error {
						if _, err := io.CopyN(io.Discard, a, 3<<20); err != nil {
							return err
						}
						return testnet.Reset(a)
					}, func() error {
						if err := s.Send(b, 1<<40, 65537); !testnet.IsReset(err) {
							return fmt.Errorf("the sender sees %v instead of a reset", err)
						}
						return nil
					})
					if way == "both_ways" {
						if err := <-sending; err == nil {
							t.Error("bytes were taken from a connection that was reset")
						}
					}
					record := r.ended(1)[0]
					if record.Reason != proxy.ReasonReset || record.Side != first {
						t.Errorf("outcome = %v %v", record.Side, record.Reason)
					}
				})
			}
		}
	})
}

// TestBackendDies kills a backend in the middle of many transfers. Each client notices, and the
// other backend serves new clients.
func TestBackendDies(t *testing.T) {
	const many = 20
	enginesTogether(t, func(t *testing.T, engine string) {
		endless := func(c testnet.Conn) { _ = testnet.Stream(1).Send(c, 1<<40, 16384) }
		dying := testnet.Serve(t, "tcp", "", endless)
		other := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(dying, other), func(s *setup) { s.policy = "round_robin" })
		var clients []testnet.Conn
		for range 2 * many {
			clients = append(clients, r.dial())
		}
		testnet.Eventually(t, "all connected", func() bool { return dying.Accepted() == many && other.Accepted() == many })
		// Clients of the dying backend have received bytes; the others get back what they send.
		var victims []testnet.Conn
		for i, c := range clients {
			if _, err := c.Write([]byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
			first := make([]byte, 1)
			if _, err := io.ReadFull(c, first); err != nil {
				t.Fatal(err)
			}
			if n, _ := readSome(c); n > 0 {
				victims = append(victims, c)
			}
		}
		if len(victims) != many {
			t.Fatalf("%d clients of the dying backend, want %d", len(victims), many)
		}
		dying.Die()
		for _, c := range victims {
			if _, err := io.Copy(io.Discard, c); !testnet.IsReset(err) {
				t.Errorf("a client of the killed backend sees %v instead of a reset", err)
			}
		}
		for range many {
			c := r.dial()
			message := strings.Repeat("still here", 100)
			if got, err := ask(c, message); err != nil || got != message {
				t.Fatalf("a new client gets %d bytes, %v", len(got), err)
			}
			c.Close()
		}
	})
}

// readSome reads once without waiting long for bytes that an echo will never send.
func readSome(c testnet.Conn) (int, error) {
	p := make([]byte, 1<<10)
	return readWithin(c, shortly, p)
}
