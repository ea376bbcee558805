package faults

import (
	"testing"
	"time"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// TestFaultReaderPauses has a client take nothing for three times TCP_USER_TIMEOUT, its window shut, while bytes wait
// for it: it answers every probe, so it must not be taken for a peer that has vanished.
func TestFaultReaderPauses(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	engines(t, func(t *testing.T, engine string) {
		const size = 64 << 20
		bytes := testnet.Stream(7)
		b := testnet.Serve(t, "tcp", "127.0.0.1:0", func(c testnet.Conn) {
			_ = bytes.Send(c, size, 64<<10) // the client tells whether all came
			_ = c.CloseWrite()
		})
		records := make(chan proxy.Record, 1)
		c := testnet.Dial(t, "tcp", inProcess(t, engine, b.Addr, records))
		select {
		case r := <-records:
			t.Fatalf("ended while the client paused: %v %v after %v", r.Side, r.Reason, r.Duration)
		case <-time.After(6 * time.Second):
		}
		if n, err := bytes.Check(c, 64<<10); n != size || err != nil {
			t.Errorf("%d of %d bytes, %v", n, size, err)
		}
	})
}
