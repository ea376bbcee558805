package proxy_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// pausesEnv is the number of pauses of TestPauseAcceptingChaos, if it is set.
const pausesEnv = "L4PROXY_PAUSES"

// TestPauseAcceptingChaos pauses accepting again and again while clients come, listeners are
// drained, closed to new clients and reopened, and limits change. Every pause begins, no client is
// accepted during it, and at the end each client is served.
func TestPauseAcceptingChaos(t *testing.T) {
	pauses := 50
	if n, err := strconv.Atoi(os.Getenv(pausesEnv)); err == nil {
		pauses = n
	}
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		path := filepath.Join(t.TempDir(), "front")
		r := start(t, engine, addresses(b), func(s *setup) {
			s.listener.Binds = append(s.listener.Binds, listen.Bind{Path: path})
			s.options.MaxConnections = 4
		})
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		var stop atomic.Bool
		var wg sync.WaitGroup
		for i := range 12 {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			network, address := "tcp", r.addr
			if i%3 == 0 {
				network, address = "unix", path
			}
			wg.Go(func() {
				for !stop.Load() {
					c, err := testnet.TryDial(network, address)
					if err != nil {
						time.Sleep(time.Millisecond)
						continue // the listener is closed to new clients
					}
					if _, err := c.Write([]byte("hello")); err == nil {
						// A client that waits for longer than its deadline is a fault. A drained
						// listener turns clients away, and one that is being closed may reset them.
						if _, err := c.Read(make([]byte, 5)); errors.Is(err, os.ErrDeadlineExceeded) {
							t.Errorf("a client of %s was left waiting", network)
						}
					}
					time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
					c.Close()
				}
			})
		}
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, 100))
			for !stop.Load() {
				switch on := random.IntN(2) == 0; random.IntN(3) {
				case 0:
					r.server.SetListening(r.state.Listeners[0], on)
				case 1:
					r.server.DrainListener(r.state.Listeners[0].Name, on)
				case 2:
					if err := r.server.Apply(r.state, 1+random.IntN(6)); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(time.Duration(random.IntN(2000)) * time.Microsecond)
			}
		})
		random := rand.New(rand.NewPCG(seed, 101))
		longest := time.Duration(0)
		for range pauses {
			ctx, cancel := context.WithTimeout(context.Background(), testnet.Patience)
			began := time.Now()
			if err := r.server.PauseAccepting(ctx); err != nil {
				t.Error(err)
			}
			cancel()
			longest = max(longest, time.Since(began))
			before := accepted(r.server)
			time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
			if now := accepted(r.server); now != before {
				t.Errorf("%d clients were accepted during a pause", now-before)
			}
			r.server.ResumeAccepting()
			time.Sleep(time.Duration(random.IntN(5)) * time.Millisecond)
		}
		t.Logf("the longest of %d pauses began after %v", pauses, longest)
		stop.Store(true)
		r.server.SetListening(r.state.Listeners[0], true)
		r.server.DrainListener(r.state.Listeners[0].Name, false)
		wg.Wait()
		if err := r.server.Apply(r.state, 0); err != nil {
			t.Error(err)
		}
		r.server.SetListening(r.state.Listeners[0], true)
		r.server.DrainListener(r.state.Listeners[0].Name, false)
		for _, network := range []string{"tcp", "tcp", "tcp", "unix"} {
			address := r.addr
			if network == "unix" {
				address = path
			}
			testnet.Eventually(t, "clients of "+network+" are served", func() bool {
				c, err := testnet.TryDial(network, address)
				if err != nil {
					return false
				}
				defer c.Close()
				answer := make([]byte, 6)
				_, failed := c.Write([]byte("served"))
				_, err = io.ReadFull(c, answer)
				return failed == nil && err == nil && string(answer) == "served"
			})
		}
	})
}

// accepted is the number of clients that a server has accepted.
func accepted(s *proxy.Server) (n uint64) {
	for _, l := range s.Counts().Listeners {
		n += l.Accepted
	}
	return n
}
