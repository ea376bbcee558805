package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// runEcho is the origin with which every peer is verified. Its argument is the
// address to listen on. It serves until ctx ends.
func runEcho(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: echo LISTEN")
	}
	e, err := startEcho(args[0])
	if err != nil {
		return err
	}
	<-ctx.Done()
	e.stop()
	return nil
}

// echo sends back what it receives.
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
			// The client checks how a connection ends.
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
