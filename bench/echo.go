package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// echo is the origin that every proxy is verified with.
type echo struct {
	listener net.Listener
	group    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func startEcho(address string) (*echo, error) {
	listener, err := net.Listen("tcp4", address)
	if err != nil {
		return nil, err
	}
	e := &echo{listener: listener, conns: make(map[net.Conn]struct{})}
	e.group.Go(e.serve)
	return e, nil
}

func (e *echo) serve() {
	for {
		conn, err := e.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		e.mu.Lock()
		e.conns[conn] = struct{}{}
		e.mu.Unlock()
		e.group.Go(func() {
			// How a connection ends is the other side's to judge.
			_, _ = io.Copy(conn, conn)
			conn.Close()
			e.mu.Lock()
			delete(e.conns, conn)
			e.mu.Unlock()
		})
	}
}

// stop ends the server and its connections.
func (e *echo) stop() {
	e.listener.Close()
	e.mu.Lock()
	for conn := range e.conns {
		conn.Close()
	}
	e.mu.Unlock()
	e.group.Wait()
}

// verify sends a few sizes of random bytes through address and expects the same
// bytes back.
func verify(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	random := rand.NewChaCha8([32]byte{})
	for _, size := range []int{1, 1000, 4 << 20} {
		sent := make([]byte, size)
		// ChaCha8 never fails to fill a slice.
		_, _ = random.Read(sent)
		if err := roundTrip(ctx, address, sent); err != nil {
			return fmt.Errorf("%d bytes: %w", size, err)
		}
	}
	return nil
}

func roundTrip(ctx context.Context, address string, sent []byte) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(sent)
		written <- err
	}()
	received := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, received); err != nil {
		return fmt.Errorf("reading the echo: %w", err)
	}
	if err := <-written; err != nil {
		return err
	}
	if !bytes.Equal(received, sent) {
		return errors.New("other bytes came back")
	}
	return nil
}
