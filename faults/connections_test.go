package faults

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/testnet"
)

// TestFaultManyAreListed lists and ends 9,000 live connections. A client that talks meanwhile does
// not wait for that.
func TestFaultManyAreListed(t *testing.T) {
	const dialling = 8
	many := rounds(9000)
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			_ = c.SetDeadline(time.Time{}) // 9,000 take a while on a slow machine
			testnet.Echo(c)
		})
		addr, control := freeAddress(t, "127.0.0.1"), freeAddress(t, "127.0.0.1")
		p := run(t, settings{
			engine: engine, noSocket: true, binds: []string{addr}, backends: []string{b.Addr}, top: "admin: {bind: \"" + control + "\"}\n",
		})
		api, err := client.New(control, "")
		if err != nil {
			t.Fatal(err)
		}
		var clients sync.WaitGroup
		all := make([]testnet.Conn, many)
		for i := range dialling {
			clients.Go(func() {
				for n := i; n < many; n += dialling {
					var err error
					if all[n], err = testnet.TryDial("tcp", addr); err != nil {
						t.Errorf("client %d: %v", n, err)
						return
					}
				}
			})
		}
		clients.Wait()
		defer func() {
			for _, c := range all {
				if c != nil {
					c.Close()
				}
			}
		}()
		testnet.Eventually(t, "all have a backend", func() bool { return b.Accepted() >= many })
		talker := startTalker(t, addr)
		calm := talker.worst(time.Second)

		ctx, cancel := context.WithTimeout(t.Context(), 3*testnet.Patience)
		defer cancel()
		for _, sort := range admin.Sorts {
			var first time.Duration
			ids, pages := make(map[string]bool), 0
			began := time.Now()
			for q := (admin.ConnectionQuery{Sort: sort, Limit: admin.MaxLimit}); ; pages++ {
				page, err := api.Connections(ctx, q)
				if err != nil {
					t.Fatal(err)
				}
				if first == 0 {
					first = time.Since(began)
				}
				for i := range page.Connections {
					if ids[page.Connections[i].ID] {
						t.Errorf("sorted by %s, %s was shown twice", sort, page.Connections[i].ID)
					}
					ids[page.Connections[i].ID] = true
				}
				if q.After = page.Next; q.After == "" {
					break
				}
			}
			if len(ids) < many || len(ids) > many+1 {
				t.Errorf("sorted by %s, %d connections were shown", sort, len(ids))
			}
			t.Logf("%s: the first page of 1,000 after %v, %d pages in %v", sort, first, pages+1, time.Since(began))
			began = time.Now()
			if _, err := api.Connections(ctx, admin.ConnectionQuery{Sort: sort, Limit: 100}); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: a page of 100 in %v", sort, time.Since(began))
		}
		t.Logf("the slowest round trip meanwhile: %v; without lists, in a second: %v", talker.worst(0), calm)

		began := time.Now()
		killed, err := api.Kill(ctx, admin.KillRequest{ConnectionFilter: admin.ConnectionFilter{Idle: admin.Duration(time.Second)}})
		if err != nil || killed.Matched != many || killed.Killed != many {
			t.Fatalf("%+v, %v", killed, err)
		}
		t.Logf("%d were ended in %v; the slowest round trip meanwhile: %v", many, time.Since(began), talker.worst(0))
		for _, c := range all {
			_ = c.SetDeadline(time.Now().Add(testnet.Patience))
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("a client reads %v", err)
			}
		}
		talker.stop()
		if out := p.log(); !strings.Contains(out, `"connections killed"`) {
			t.Error("the log has no line about the kill")
		}
		p.stop()
		reasons := make(map[string]int)
		for _, r := range p.records() {
			reasons[r.Reason]++
		}
		if reasons["killed"] != many || strings.Contains(p.log(), "dropped") {
			t.Errorf("the reasons are %v", reasons)
		}
	})
}

// A talker sends a byte and waits for it to come back, again and again.
type talker struct {
	t     *testing.T
	conn  testnet.Conn
	done  chan error
	mu    sync.Mutex
	times []time.Duration
}

func startTalker(t *testing.T, addr string) *talker {
	k := &talker{t: t, conn: testnet.Dial(t, "tcp", addr), done: make(chan error, 1)}
	go func() {
		var one [1]byte
		for {
			began := time.Now()
			_ = k.conn.SetDeadline(began.Add(testnet.Patience))
			if _, err := k.conn.Write(one[:]); err != nil {
				k.done <- err
				return
			}
			if _, err := io.ReadFull(k.conn, one[:]); err != nil {
				k.done <- err
				return
			}
			k.mu.Lock()
			k.times = append(k.times, time.Since(began))
			k.mu.Unlock()
			time.Sleep(200 * time.Microsecond) // it is one client, not a load
		}
	}()
	return k
}

// worst returns the slowest round trips since the last call, after a time: the median, the slowest
// hundredth and the slowest one.
func (k *talker) worst(after time.Duration) string {
	select {
	case err := <-k.done:
		k.t.Fatalf("the client that talks: %v", err)
	case <-time.After(after):
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	times := k.times
	k.times = nil
	slices.Sort(times)
	if len(times) == 0 {
		return "none"
	}
	return fmt.Sprintf("median %v, 99 %% %v, slowest %v of %d", times[len(times)/2], times[len(times)*99/100], times[len(times)-1], len(times))
}

func (k *talker) stop() {
	k.conn.Close()
	<-k.done
}
