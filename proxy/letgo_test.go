package proxy_test

import (
	"errors"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"l4proxy/acl"
	"l4proxy/balancer"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// TestReaderPausesAfterBothStreamsHaveEnded: the bytes that the proxy's socket still holds when it
// is closed are delivered, however long the reader pauses.
func TestReaderPausesAfterBothStreamsHaveEnded(t *testing.T) {
	const size = 3 << 20
	const timeout = 300 * time.Millisecond
	enginesTogether(t, func(t *testing.T, engine string) {
		for i, reader := range sides {
			t.Run(reader.String(), func(t *testing.T) {
				t.Parallel()
				back := testnet.Listen(t, "tcp", "")
				r := start(t, engine, addresses(back), func(s *setup) {
					// Short enough for the keepalive options to be set on the backend's socket.
					s.options.KeepAlive = proxy.KeepAlive{Idle: time.Second, Interval: time.Second, Timeout: timeout}
				})
				ends := []testnet.Conn{r.dial(), back.Accept(t)}
				mine, other := ends[i], ends[1-i]
				for range 4 { // until a look has set keepalive
					time.Sleep(timeout)
				}
				if err := mine.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				s := testnet.Stream(1)
				if err := s.Send(other, size, 65536); err != nil {
					t.Fatal(err)
				}
				other.Close()
				in, out := inOut(reader, 0, size)
				r.endedOne(reader, proxy.ReasonClosed, in, out)
				time.Sleep(6 * timeout) // the kernel would have given up by now
				if n, err := s.Check(mine, 65536); n != size || err != nil {
					t.Errorf("the reader gets %d bytes of %d, %v", n, size, err)
				}
			})
		}
	})
}

// TestBackendIsFreeWhenItsSideIsOver: a client that has seen the end of its connection, but keeps
// its own socket open, holds no slot on the backend.
func TestBackendIsFreeWhenItsSideIsOver(t *testing.T) {
	ends := map[string]func(testnet.Conn){
		"FIN":             func(c testnet.Conn) { _, _ = c.Write([]byte("answer")) },
		"FIN with client": func(c testnet.Conn) { _, _ = c.Write([]byte("answer")); _, _ = io.Copy(io.Discard, c) },
		"reset":           func(c testnet.Conn) { _ = testnet.Reset(c) },
	}
	enginesTogether(t, func(t *testing.T, engine string) {
		for name, end := range ends {
			t.Run(name, func(t *testing.T) {
				b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
					if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
						end(c)
					}
				})
				r := start(t, engine, addresses(b), func(s *setup) {
					s.members = func(m []balancer.Member) { m[0].MaxConnections = 1 }
				})
				for i := range 100 {
					c := r.dial() // closed with the test
					if _, err := c.Write([]byte("x")); err != nil {
						t.Fatal(err)
					}
					if name == "FIN with client" {
						_ = c.CloseWrite()
					}
					got, err := io.ReadAll(c)
					if name != "reset" && (err != nil || string(got) != "answer") || b.Accepted() != i+1 {
						t.Fatalf("client %d reads %q, %v; %d were served", i, got, err, b.Accepted())
					}
				}
			})
		}
	})
}

// TestClientsResetBeforeAccept: clients connect, send, and reset before a loop looks at them. The
// backend sees each of them, with its bytes, as without a proxy, and each leaves a record.
func TestClientsResetBeforeAccept(t *testing.T) {
	const clients = 50
	engines(t, func(t *testing.T, engine string) {
		for _, denied := range []bool{false, true} {
			var mu sync.Mutex
			complete := 0
			b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
				got, err := io.ReadAll(c)
				mu.Lock()
				defer mu.Unlock()
				if string(got) == "8 bytes." && testnet.IsReset(err) {
					complete++
				}
			})
			r := start(t, engine, addresses(b), rules(!denied, acl.Rule{}), func(s *setup) {
				s.before = func(addr string) {
					for range clients {
						c := testnet.Dial(t, "tcp", addr)
						if _, err := c.Write([]byte("8 bytes.")); err != nil {
							t.Fatal(err)
						}
						_ = testnet.Reset(c)
					}
				}
			})
			records := r.ended(clients)
			if denied {
				for _, record := range records {
					if record.Reason != proxy.ReasonDenied || !record.Client.IsValid() {
						t.Errorf("a client that is denied: %v %v, address %v", record.Side, record.Reason, record.Client)
					}
				}
				continue
			}
			for _, record := range records {
				r.expect(record, proxy.SideClient, proxy.ReasonReset, 8, 0)
				if !record.Client.Addr().IsLoopback() {
					t.Errorf("the client's address is %v", record.Client)
				}
			}
			testnet.Eventually(t, "the backend has seen all", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return complete == clients
			})
		}
	})
}

// TestBurstBeyondTheLimit: far more clients than connection slots arrive before the listener is
// closed. They wait, and each one is served.
func TestBurstBeyondTheLimit(t *testing.T) {
	const clients = 1300
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) { _, _ = c.Write([]byte("x")) })
		var all []testnet.Conn
		r := start(t, engine, addresses(b), func(s *setup) {
			s.options.MaxConnections = 4
			s.before = func(addr string) {
				for range clients {
					all = append(all, testnet.Dial(t, "tcp", addr))
				}
			}
		})
		r.server.StopAccepting()
		var readers sync.WaitGroup
		for _, c := range all {
			readers.Go(func() {
				if got, err := io.ReadAll(c); err != nil || string(got) != "x" {
					t.Errorf("a client reads %q, %v", got, err)
				}
				c.Close()
			})
		}
		readers.Wait()
		r.ended(clients)
	})
}

// TestFirstFINEndsBoth: with half_close: off, one side finishes while the other is silent.
func TestFirstFINEndsBoth(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for i, first := range sides {
			t.Run(first.String(), func(t *testing.T) {
				back := testnet.Listen(t, "tcp", "")
				r := start(t, engine, addresses(back), func(s *setup) { s.listener.CloseOnFIN = true })
				ends := []testnet.Conn{r.dial(), back.Accept(t)}
				mine, other := ends[i], ends[1-i]
				if _, err := mine.Write([]byte("last words")); err != nil {
					t.Fatal(err)
				}
				if err := mine.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(other); err != nil || string(got) != "last words" {
					t.Errorf("the other side reads %q, %v", got, err)
				}
				if got, err := io.ReadAll(mine); err != nil || len(got) != 0 {
					t.Errorf("the side that finished reads %q, %v; want EOF", got, err)
				}
				in, out := inOut(first, 10, 0)
				r.endedOne(first, proxy.ReasonClosed, in, out)
			})
			t.Run(first.String()+"/what is on its way", func(t *testing.T) {
				back := testnet.Listen(t, "tcp", "")
				r := start(t, engine, addresses(back), func(s *setup) { s.listener.CloseOnFIN = true })
				ends := []testnet.Conn{r.dial(), back.Accept(t)}
				mine, other := ends[i], ends[1-i]
				sent := make(chan int64)
				go func() { // until all buffers are full
					_ = other.SetWriteDeadline(time.Now().Add(shortly))
					n := int64(0)
					for {
						wrote, err := other.Write(testnet.Stream(1).Piece(n, 65536))
						n += int64(wrote)
						if err != nil {
							sent <- n
							return
						}
					}
				}()
				n := <-sent
				if err := mine.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				got, err := testnet.Stream(1).Check(mine, 65536)
				if record := r.ended(1)[0]; err != nil || got > n || uint64(got) != record.BytesIn+record.BytesOut {
					t.Errorf("%d bytes of %d, %v; the record says %d and %d", got, n, err, record.BytesIn, record.BytesOut)
				}
			})
		}
	})
}

// TestClientsBeyondTheLimitLeaveRecords: a drain ends clients that never got a connection slot.
func TestClientsBeyondTheLimitLeaveRecords(t *testing.T) {
	const clients = 10
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), func(s *setup) { s.options.MaxConnections = 1 })
		mustAsk(t, r.dial(), "the loops run")
		for range clients - 1 {
			r.dial()
		}
		r.server.Drain(t.Context(), shortly)
		for _, record := range r.ended(clients) {
			if !record.Is(proxy.SideProxy, proxy.ReasonDrainTimeout) || !record.Client.IsValid() {
				t.Errorf("outcome = %v %v of %v", record.Side, record.Reason, record.Client)
			}
		}
	})
}

// TestFirstFINWhileTheOtherSideTalks: with half_close: off, one side sends a lot and finishes,
// while the other side keeps sending. The other side gets all bytes, as without a proxy.
func TestFirstFINWhileTheOtherSideTalks(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for i, first := range sides {
			for _, network := range []string{"tcp", "unix"} {
				t.Run(first.String()+"/"+network, func(t *testing.T) {
					const much = 3 << 20
					dir, address := t.TempDir(), ""
					if network == "unix" {
						address = filepath.Join(dir, "b")
					}
					back := testnet.Listen(t, network, address)
					r := start(t, engine, addresses(back), func(s *setup) {
						s.listener.CloseOnFIN = true
						if network == "unix" {
							s.listener.Binds = []listen.Bind{{Path: filepath.Join(dir, "l")}}
						}
					})
					ends := []testnet.Conn{testnet.Dial(t, network, r.addr), back.Accept(t)}
					mine, other := ends[i], ends[1-i]
					ended := make(chan struct{})
					go func() { // until mine has got its FIN, and other has no more to read
						defer close(ended)
						for {
							if _, err := other.Write([]byte("talk")); err != nil {
								return
							}
						}
					}()
					sent := make(chan error, 1)
					go func() {
						go func() { _, _ = io.Copy(io.Discard, mine) }()
						sent <- errors.Join(testnet.Stream(2).Send(mine, much, 65536), mine.CloseWrite())
					}()
					got, err := testnet.Stream(2).Check(other, 65536)
					if network == "unix" && testnet.IsReset(err) { // as from a peer that closes and has not read all
						err = nil
					}
					if got != much || err != nil {
						t.Errorf("%d bytes of %d, %v", got, much, err)
					}
					if err := <-sent; err != nil {
						t.Error(err)
					}
					other.Close()
					<-ended
					r.ended(1)
				})
			}
		}
	})
}
