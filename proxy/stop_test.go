package proxy_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/balancer"
	"l4proxy/eventloop"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// TestDrain: connections end by themselves after accepting was stopped.
func TestDrain(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		var clients []testnet.Conn
		for range 5 {
			c := r.dial()
			mustAsk(t, c, "before")
			clients = append(clients, c)
		}
		left := make(chan int, 1)
		go func() { left <- r.server.Drain(context.Background(), testnet.Patience) }()
		testnet.Eventually(t, "new clients are refused", func() bool {
			c, err := testnet.TryDial("tcp", r.addr)
			if err == nil {
				c.Close()
			}
			return err != nil
		})
		for _, c := range clients {
			mustAsk(t, c, "while draining")
			select {
			case n := <-left:
				t.Fatalf("Drain returned %d while connections are open", n)
			default:
			}
			c.Close()
		}
		if n := <-left; n != 0 {
			t.Errorf("Drain = %d, want 0", n)
		}
	})
}

// TestDrainTimeout: connections stay. They are ended, and counted.
func TestDrainTimeout(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			name   string
			drain  func(*proxy.Server) int
			reason proxy.Reason
		}{
			{"timeout", func(s *proxy.Server) int { return s.Drain(context.Background(), limit) }, proxy.ReasonDrainTimeout},
			{"cancelled", func(s *proxy.Server) int {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				return s.Drain(ctx, time.Hour)
			}, proxy.ReasonStopped},
		} {
			t.Run(test.name, func(t *testing.T) {
				b := testnet.Serve(t, "tcp", "", testnet.Echo)
				r := start(t, engine, addresses(b))
				for range 7 {
					mustAsk(t, r.dial(), "hello")
				}
				began := time.Now()
				if n := test.drain(r.server); n != 7 {
					t.Errorf("Drain = %d, want 7", n)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("draining took %v", took)
				}
				for _, record := range r.ended(7) {
					r.expect(record, proxy.SideProxy, test.reason, 5, 5)
				}
			})
		}
	})
}

// TestStopUnderLoad ends a proxy in the middle of everything: accepts, dials, bulk, denials. It
// checks that Run returns, and that no descriptor and no goroutine is left.
func TestStopUnderLoad(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		// Ending connections in order takes a second: bytes that were sent get time to arrive.
		for how, rounds := range map[string]int{"Stop": 10, "context": 3} {
			if underRace {
				rounds = 3
			}
			t.Run(how, func(t *testing.T) {
				b := testnet.Serve(t, "tcp", "", testnet.Echo)
				silent := testnet.Silent(t)
				for range rounds {
					r := start(t, engine, []string{b.Addr, b.Addr, silent}, func(s *setup) {
						s.policy, s.timeout, s.options.Workers = "round_robin", 20*time.Millisecond, 3
					})
					var clients sync.WaitGroup
					var over atomic.Bool
					for i := range 8 {
						clients.Go(func() {
							for !over.Load() {
								c, err := testnet.TryDial("tcp", r.addr)
								if err != nil {
									continue
								}
								go func() { _ = testnet.Stream(i).Send(c, 1<<20, 65537) }()
								_, _ = c.Read(make([]byte, 1+i*20_000))
								c.Close()
							}
						})
					}
					testnet.Eventually(t, "work has begun", func() bool { return len(r.records.all()) > 50 })
					if how == "Stop" {
						r.server.Stop()
					} else {
						r.cancel()
					}
					if err := r.wait(); err != nil {
						t.Error(err)
					}
					over.Store(true)
					clients.Wait()
				}
			})
		}
	})
}

// TestContextEndsAll: ctx is cancelled. Connections end in order, with records.
func TestContextEndsAll(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		for range 3 {
			mustAsk(t, r.dial(), "hello")
		}
		r.cancel()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		for _, record := range r.ended(3) {
			r.expect(record, proxy.SideProxy, proxy.ReasonStopped, 5, 5)
		}
	})
}

// TestPanic: code on a loop panics. Run returns it as an error, and leaves nothing behind.
func TestPanic(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		r := start(t, engine, []string{testnet.Refusing(t)}, func(s *setup) {
			s.observe = func(balancer.Event) { panic("told of a refusal") }
		})
		r.fails = true
		r.dial()
		var panicked *eventloop.PanicError
		if err := r.wait(); !errors.As(err, &panicked) {
			t.Fatalf("Run = %v, want a PanicError", err)
		}
		if panicked.Value != "told of a refusal" || len(panicked.Stack) == 0 {
			t.Errorf("panic = %v, %d bytes of stack", panicked.Value, len(panicked.Stack))
		}
	})
}

// TestIdleWhenALoopFails asks for idle connections just before a loop ends, which never answers.
func TestIdleWhenALoopFails(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		var r *running
		ready, answered := make(chan struct{}), make(chan struct{})
		r = start(t, engine, []string{testnet.Refusing(t)}, func(s *setup) {
			s.observe = func(balancer.Event) {
				<-ready
				go func() {
					r.server.Idle(r.pool.Balancer.Members()[0].Backend, 0, 1)
					close(answered)
				}()
				time.Sleep(10 * time.Millisecond) // until it has asked
				panic("told of a refusal")
			}
		})
		r.fails = true
		close(ready)
		r.dial()
		if err := r.wait(); err == nil {
			t.Error("Run returns no error")
		}
		select {
		case <-answered:
		case <-time.After(testnet.Patience):
			t.Error("Idle does not return")
		}
	})
}

// TestFinishedBlocks: the log blocks. Connections continue, and lost records are counted.
func TestFinishedBlocks(t *testing.T) {
	many := 6000 // more than the ring keeps
	if underRace {
		many = 5000
	}
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", func(testnet.Conn) {})
		block := make(chan struct{})
		var told atomic.Int64
		r := start(t, engine, addresses(b), func(s *setup) {
			keep := s.options.Finished
			s.options.Finished = func(r *proxy.Record) {
				<-block
				keep(r)
				told.Add(1)
			}
		})
		var clients sync.WaitGroup
		var turn atomic.Int64
		for range 8 {
			clients.Go(func() {
				for turn.Add(1) <= int64(many) {
					c, err := testnet.TryDial("tcp", r.addr)
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := c.Read(make([]byte, 1)); err == nil {
						t.Error("a byte from nowhere")
					}
					testnet.Reset(c) // leaves no TIME_WAIT
				}
			})
		}
		clients.Wait()
		testnet.Eventually(t, "all have ended", func() bool { return r.server.Connections() == 0 })
		if told.Load() != 0 || r.server.Dropped() == 0 {
			t.Errorf("%d were recorded, %d dropped, while the log blocks", told.Load(), r.server.Dropped())
		}
		close(block)
		testnet.Eventually(t, "each connection is recorded or counted as dropped", func() bool {
			return told.Load()+int64(r.server.Dropped()) == int64(many)
		})
	})
}
