package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// idle is many connections that had one request each and then nothing.
func idle(connections int) scenario {
	return scenario{
		about: fmt.Sprintf("%d connections, idle after one small HTTP request each (origin nginx): what each holds in the proxy.", connections),
		metrics: []metric{
			{name: "PSS KB/connection", digits: 2},
			{name: "RSS KB/connection", digits: 2},
			{name: "fds/connection", digits: 2},
			{name: "CPU %", digits: 2},
			{name: "base PSS MB", digits: 1},
		},
		proxied: true,
		origin:  startHTTPOrigin,
		run: func(ctx context.Context, b bench) (figures, error) {
			return runIdle(ctx, b, connections)
		},
	}
}

// settleTime is how long peers have to finish with what was just asked of them.
const settleTime = time.Second

func runIdle(ctx context.Context, b bench, connections int) (figures, error) {
	if err := pause(ctx, settleTime); err != nil {
		return nil, err
	}
	before, err := memoryOf(b.pid)
	if err != nil {
		return nil, err
	}
	conns, err := openIdle(ctx, b.target, connections)
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, settleTime); err != nil {
		return nil, err
	}

	cpuBefore, err := cpuOf(b.pid)
	if err != nil {
		return nil, err
	}
	from := time.Now()
	if err := pause(ctx, b.duration); err != nil {
		return nil, err
	}
	cpuAfter, err := cpuOf(b.pid)
	if err != nil {
		return nil, err
	}
	share := cpuAfter.minus(cpuBefore).cpu() / time.Since(from).Seconds()
	after, err := memoryOf(b.pid)
	if err != nil {
		return nil, err
	}
	grown, n := after.minus(before), float64(connections)
	return figures{
		"PSS KB/connection": grown.pss / 1024 / n,
		"RSS KB/connection": grown.rss / 1024 / n,
		"fds/connection":    grown.fds / n,
		"CPU %":             share * 100,
		"base PSS MB":       before.pss / (1 << 20),
	}, nil
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

// openIdle opens n connections to address, each with one request answered. It
// returns those it opened also when one fails.
func openIdle(ctx context.Context, address string, n int) ([]net.Conn, error) {
	const atOnce = 64
	var (
		mu    sync.Mutex
		conns []net.Conn
		fault error
		group sync.WaitGroup
	)
	turns := make(chan struct{}, atOnce)
	for range n {
		turns <- struct{}{}
		group.Go(func() {
			defer func() { <-turns }()
			conn, err := openOne(ctx, address)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				fault = errors.Join(fault, err)
				return
			}
			conns = append(conns, conn)
		})
		mu.Lock()
		failed := fault != nil
		mu.Unlock()
		if failed {
			break
		}
	}
	group.Wait()
	return conns, fault
}

func openOne(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if err := askOnce(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// askOnce sends one request, reads its answer and leaves the connection open.
func askOnce(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if string(answer) != body {
		return fmt.Errorf("answer %q, want %q", answer, body)
	}
	return nil
}
