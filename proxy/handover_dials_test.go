package proxy_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// scarce is a backend with a queue for three connections: the kernel drops the SYNs of others, so
// dials take a second and more, and may be answered at any time. It counts what it gets.
type scarce struct {
	addr   string
	mu     sync.Mutex
	seen   map[uint64]int // clients by number
	silent int            // connections that ended with a FIN and no byte
	open   atomic.Int64
}

func serveScarce(t *testing.T) *scarce {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err == nil {
		var failed error
		err = errors.Join(raw.Control(func(fd uintptr) { failed = unix.Listen(int(fd), 2) }), failed)
	}
	if err != nil {
		t.Fatal(err)
	}
	b := &scarce{addr: l.Addr().String(), seen: map[uint64]int{}}
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.open.Add(1)
			handlers.Go(func() { b.serve(c) })
			time.Sleep(time.Millisecond)
		}
	})
	t.Cleanup(func() {
		l.Close()
		handlers.Wait()
	})
	return b
}

func (b *scarce) serve(c net.Conn) {
	defer b.open.Add(-1)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(testnet.Patience))
	number := make([]byte, 8)
	_, err := io.ReadFull(c, number)
	b.mu.Lock()
	if err == nil {
		b.seen[binary.BigEndian.Uint64(number)]++
	} else if errors.Is(err, io.EOF) {
		b.silent++
	}
	b.mu.Unlock()
	if err == nil {
		_, _ = c.Write(number)
		_, _ = io.Copy(io.Discard, c)
	}
}

// TestHandOverDialsOnce: dials that were not answered when their clients moved are made again by
// the other server. Each client's bytes reach the backend once, no connection stays open, and none
// looks like a client that sends nothing.
func TestHandOverDialsOnce(t *testing.T) {
	enginePairsTogether(t, func(t *testing.T, from, to string) {
		b := serveScarce(t)
		servers := []*running{start(t, from, []string{b.addr}), start(t, to, []string{b.addr})}
		var stop atomic.Bool
		var next atomic.Uint64
		var clients sync.WaitGroup
		for range 10 {
			clients.Go(func() {
				for !stop.Load() {
					n := next.Add(1)
					c, err := testnet.TryDial("tcp", servers[n%2].addr)
					if err != nil {
						t.Error(err)
						return
					}
					number := binary.BigEndian.AppendUint64(nil, n)
					_, failed := c.Write(number)
					if _, err := io.ReadFull(c, number); err != nil || failed != nil || binary.BigEndian.Uint64(number) != n {
						t.Errorf("client %d: %v, %v", n, failed, err)
					}
					c.Close()
				}
			})
		}
		for i := range chaosRounds(3) {
			servers[i%2].handOver(servers[1-i%2])
			time.Sleep(time.Duration(i%3) * 10 * time.Millisecond)
		}
		stop.Store(true)
		clients.Wait()
		testnet.Eventually(t, "no connection to the backend is left", func() bool { return b.open.Load() == 0 })
		b.mu.Lock()
		defer b.mu.Unlock()
		for n := range next.Load() {
			if b.seen[n+1] != 1 {
				t.Errorf("the bytes of client %d have reached the backend %d times", n+1, b.seen[n+1])
			}
		}
		if b.silent > 0 {
			t.Errorf("the backend got %d connections that sent nothing and ended with a FIN", b.silent)
		}
		moved := uint64(0)
		for _, r := range servers {
			for _, l := range r.server.Counts().Listeners {
				moved += l.Moved
			}
		}
		t.Logf("%d clients, %d moves", next.Load(), moved)
	})
}
