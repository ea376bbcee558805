package proxy_test

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
)

// stuckMost is how long a hand-over may take although no peer reads: a few rounds of the loops for
// each batch, with room for a machine that is busy.
const stuckMost = 2 * time.Second

// TestHandOverStuck moves connections whose peers read nothing, so that all buffers and pipes on
// the way are full, in one direction or both. Nothing waits for the peers. They read after the
// last move, and get every byte.
func TestHandOverStuck(t *testing.T) {
	const each = 8 // connections of a kind
	const size = 10 << 20
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			enginePairs(t, func(t *testing.T, from, to string) {
				dir := t.TempDir()
				address := ""
				if network == "unix" {
					address = filepath.Join(dir, "back")
				}
				b := testnet.Listen(t, network, address)
				servers := make([]*running, 2)
				for i, engine := range []string{from, to} {
					servers[i] = start(t, engine, addresses(b), func(s *setup) {
						if network == "unix" {
							s.listener.Binds = []listen.Bind{{Path: filepath.Join(dir, engine+string(rune('0'+i)))}}
						}
					})
				}
				var writers, readers sync.WaitGroup
				begin := make(chan struct{})
				flow := func(name string, from, to testnet.Conn, n, piece int) {
					s := testnet.Stream(n)
					writers.Go(func() {
						if err := s.Send(from, size, piece); err != nil {
							t.Errorf("%s %d: %v", name, n, err)
						} else if err := from.CloseWrite(); err != nil {
							t.Errorf("%s %d: %v", name, n, err)
						}
					})
					readers.Go(func() {
						<-begin
						if err := s.CheckExactly(to, size, 1<<20); err != nil {
							t.Errorf("%s %d: %v", name, n, err)
						}
					})
				}
				for i := range 3 * each {
					client := testnet.Dial(t, network, servers[0].addr)
					back := b.Accept(t)
					for _, c := range []testnet.Conn{client, back} {
						_ = c.SetDeadline(time.Now().Add(2 * testnet.Patience))
					}
					piece := []int{4 << 10, 256 << 10}[i%2] // buffers, pipes
					if i%3 != 1 {
						flow("up", client, back, i, piece)
					}
					if i%3 != 0 {
						flow("down", back, client, 1000+i, piece)
					}
				}
				filled := func(r *running) {
					last := uint64(0)
					testnet.Eventually(t, "nothing moves any more", func() bool {
						time.Sleep(50 * time.Millisecond)
						before := last
						last = 0
						for _, c := range r.server.Left(3 * each).Oldest {
							last += c.BytesIn + c.BytesOut
						}
						return last == before
					})
				}
				for i := range 3 {
					filled(servers[i%2])
					began := time.Now()
					report := servers[i%2].handOver(servers[1-i%2])
					took := time.Since(began)
					t.Logf("%d connections with %d bytes on their way in %v, the longest batch in %v", report.Moved, report.Bytes, took, report.Longest)
					if report.Moved != 3*each || took > stuckMost {
						t.Errorf("move %d: %+v in %v, want all %d within %v", i, report, took, 3*each, stuckMost)
					}
				}
				close(begin)
				readers.Wait()
				writers.Wait()
			})
		})
	}
}
