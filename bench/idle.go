package main

import (
	"context"
	"fmt"
	"time"

	"l4proxy/bench/traffic"
)

// idle is many connections that carry one request each and then nothing.
func idle(connections int) scenario {
	return scenario{
		name: fmt.Sprintf("idle-%d", connections),
		about: fmt.Sprintf("Connections that are idle after one small request each: %d. Memory and descriptors of the proxy for each; "+
			"the kernel's memory is that of the whole machine, with client and origin, which are all that direct has.", connections),
		family: "idle",
		x:      float64(connections),
		metrics: []metric{
			{name: "PSS KB/connection", digits: 2},
			{name: "RSS KB/connection", digits: 2},
			{name: "kernel KB/connection", digits: 2},
			{name: "fds/connection", digits: 2},
			{name: "CPU %", digits: 2, uncompared: true},
			{name: "base PSS MB", digits: 1},
			{name: "PSS MB", digits: 1},
		},
		origin: answering(smallMessage, smallMessage),
		run: func(ctx context.Context, b bench) (measured, error) {
			return runIdle(ctx, b, connections)
		},
	}
}

// settleTime is how long peers have to finish the work before.
const settleTime = time.Second

// holding is what a proxy and the kernel hold at one moment.
type holding struct {
	proxy  usage
	kernel float64 // bytes
}

func (b bench) holding() (h holding, err error) {
	if b.pid != 0 {
		if h.proxy, err = memoryOf(b.pid); err != nil {
			return h, err
		}
	}
	h.kernel, err = kernelMemory()
	return h, err
}

func runIdle(ctx context.Context, b bench, connections int) (measured, error) {
	if err := pause(ctx, settleTime); err != nil {
		return measured{}, err
	}
	before, err := b.holding()
	if err != nil {
		return measured{}, err
	}
	// What the client measures begins when all connections are open.
	c, err := b.startClient(ctx, traffic.ClientSpec{
		Work: traffic.Idle, Connections: connections, RequestBytes: smallMessage, ResponseBytes: smallMessage,
		Duration: settleTime + b.duration + settleTime,
	})
	if err != nil {
		return measured{}, err
	}
	f, err := whileIdle(ctx, b, before, float64(connections))
	if err != nil {
		c.stop()
		return measured{}, err
	}
	// It fails if a connection did not stay open.
	if _, err := c.wait(); err != nil {
		return measured{}, err
	}
	return measured{figures: f}, nil
}

// whileIdle measures while n connections are open.
func whileIdle(ctx context.Context, b bench, before holding, n float64) (figures, error) {
	if err := pause(ctx, settleTime); err != nil {
		return nil, err
	}
	clock, err := startClock(b.pid)
	if err != nil {
		return nil, err
	}
	from := time.Now()
	if err := pause(ctx, b.duration); err != nil {
		return nil, err
	}
	used, err := clock.stop()
	if err != nil {
		return nil, err
	}
	share := used.proxy.cpu() / time.Since(from).Seconds()
	after, err := b.holding()
	if err != nil {
		return nil, err
	}
	f := figures{"kernel KB/connection": (after.kernel - before.kernel) / 1024 / n}
	if b.pid != 0 {
		grown := after.proxy.minus(before.proxy)
		f["PSS KB/connection"], f["RSS KB/connection"] = grown.pss/1024/n, grown.rss/1024/n
		f["fds/connection"] = grown.fds / n
		f["CPU %"] = share * 100
		f["base PSS MB"], f["PSS MB"] = before.proxy.pss/(1<<20), after.proxy.pss/(1<<20)
	}
	return f, nil
}

// pause waits for d.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
