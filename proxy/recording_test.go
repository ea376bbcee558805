package proxy_test

import (
	"testing"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// Records can be turned off and on while the proxy runs. Connections are counted anyway.
func TestRecordingCanBeSwitched(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "127.0.0.1:0", testnet.Echo)
		r := start(t, engine, addresses(b))
		r.removes = true // the accounting of the harness expects a record of each
		total := uint64(0)
		visit := func() {
			t.Helper()
			r.dial().Close()
			total++
			testnet.Eventually(t, "the connection has ended", func() bool { return r.server.Counts().Listeners[0].AllEnded() == total })
		}
		r.server.SetRecording(false)
		visit()
		r.server.SetRecording(true)
		visit()
		record := r.ended(1)[0]
		if record.Reason != proxy.ReasonClosed {
			t.Errorf("record %+v", record)
		}
		r.server.SetRecording(false)
		visit()
		r.server.SetRecording(true)
		visit()
		r.ended(2)
	})
}
