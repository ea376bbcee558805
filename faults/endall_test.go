package faults

import (
	"strings"
	"sync"
	"testing"

	"l4proxy/internal/testnet"
)

// TestFaultManyEndAtOnce stops a proxy with 9,000 connections and no drain timeout. Every
// connection gets its log line.
func TestFaultManyEndAtOnce(t *testing.T) {
	const dialling = 8
	many := rounds(9000)
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) { _, _ = c.Read(make([]byte, 1)) })
		addr := freeAddress(t, "127.0.0.1")
		p := run(t, settings{engine: engine, noSocket: true, binds: []string{addr}, backends: []string{b.Addr}, top: "drain: {timeout: 0s}"})
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
		testnet.Eventually(t, "all have a backend", func() bool { return b.Accepted() >= many })
		p.stop()
		for _, c := range all {
			if c != nil {
				c.Close()
			}
		}
		ended := 0
		for _, r := range p.records() {
			if r.Reason == "drain_timeout" {
				ended++
			}
		}
		if ended != many || strings.Contains(p.log(), "dropped") {
			t.Errorf("%d connections of %d were logged", ended, many)
		}
	})
}
