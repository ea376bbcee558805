package control

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// TestReturnedListener gives a listener that comes back the slots from before, if its connections
// still hold some: its limit counts them.
func TestReturnedListener(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	live := NewLive(log)
	var server *proxy.Server
	apply := func(listeners string) {
		t.Helper()
		err := live.Apply(plan(t, parse(t, "listeners: {"+listeners+"}\npools: {back: {backends: [\""+echoServer(t)+"\"]}}"), noNames),
			func(s *proxy.State) (err error) {
				if server == nil {
					server, err = proxy.Listen(s, proxy.Options{Workers: 1, Log: log})
					return err
				}
				return server.Apply(s, 100)
			})
		if err != nil {
			t.Fatal(err)
		}
	}
	const one, both = `one: {bind: "127.0.0.1:0", pool: back}`, `one: {bind: "127.0.0.1:0", pool: back}, two: {bind: "127.0.0.1:0", pool: back}`
	apply(both)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		if err := server.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	c := testnet.Dial(t, "tcp", server.Addrs()[1].Bind.Addr.String())
	testnet.Eventually(t, "the client has a slot", func() bool { return live.slots["two"].Used() == 1 })
	slots := live.slots["two"]
	apply(one)
	apply(one)
	apply(both)
	if live.slots["two"] != slots || slots.Used() != 1 {
		t.Error("the slots were made again")
	}
	c.Close()
	testnet.Eventually(t, "the client has gone", func() bool { return slots.Used() == 0 })
	apply(one)
	if apply(both); live.slots["two"] == slots {
		t.Error("slots without connections are remembered")
	}
}
