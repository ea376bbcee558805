package proxy_test

import (
	"io"
	"sync"
	"testing"

	"l4proxy/internal/testnet"
)

// TestClientsAreServedBesideBulk: sixty clients of one loop receive endless streams. Each of them
// gets its first bytes, however busy the others keep the loop's buffers.
func TestClientsAreServedBesideBulk(t *testing.T) {
	const clients = 60
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) { _ = testnet.Stream(1).Send(c, 1<<40, 16384) })
		r := start(t, engine, addresses(b), func(s *setup) { s.options.Workers = 1 })
		var served, ended sync.WaitGroup
		var all []testnet.Conn
		for i := range clients {
			c := r.dial()
			all = append(all, c)
			served.Add(1)
			ended.Go(func() {
				p := make([]byte, 32<<10)
				if _, err := io.ReadFull(c, p[:1]); err != nil {
					t.Errorf("client %d gets nothing: %v", i, err)
				}
				served.Done()
				for {
					if _, err := c.Read(p); err != nil {
						return
					}
				}
			})
		}
		served.Wait()
		for _, c := range all {
			c.Close()
		}
		ended.Wait()
	})
}
