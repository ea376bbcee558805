package faults

import (
	"strconv"
	"testing"
	"time"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// TestFaultReaderPauses has a client that reads nothing for three times TCP_USER_TIMEOUT, with its
// window closed, while bytes wait for it. It answers every probe, so it must not be treated as a
// vanished peer.
func TestFaultReaderPauses(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	engines(t, func(t *testing.T, engine string) {
		// Waiting bytes: more than the kernel holds, so that a write of the proxy is stuck; and few
		// enough for the send buffer, so that no write is.
		for _, size := range []int64{64 << 20, 400 << 10} {
			pause(t, engine, size)
		}
	})
}

func pause(t *testing.T, engine string, size int64) {
	t.Run(strconv.FormatInt(size, 10), func(t *testing.T) {
		t.Parallel()
		bytes := testnet.Stream(7)
		b := testnet.Serve(t, "tcp", "127.0.0.1:0", func(c testnet.Conn) {
			_ = bytes.Send(c, size, 64<<10) // the client checks that all bytes arrive
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
