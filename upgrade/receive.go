package upgrade

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"l4proxy/proxy"
)

// New is what an upgrade does to the process that takes over.
type New interface {
	// Check returns an error for a connection that this process cannot take. It must not touch the
	// sockets: the connection still belongs to the old process.
	Check(*proxy.Moved) error
	// Adopt takes over connections that have passed Check, with their descriptors.
	Adopt([]proxy.Moved)
}

// ErrAbandoned says that the old process ended before it had handed over everything.
var ErrAbandoned = errors.New("the old process ended before the hand-over was complete")

// Receive takes over connections until the old process is done, and returns their number and the
// final state. After an error, this process keeps what has come.
func (s *Session) Receive(to New) (connections int, final State, err error) {
	defer func() {
		if err != nil || !s.stays() {
			s.close()
		}
	}()
	for {
		f, err := s.receive()
		if errors.Is(err, io.EOF) || err != nil && closedByPeer(err) {
			return connections, nil, ErrAbandoned
		}
		if err != nil {
			return connections, nil, fmt.Errorf("hand-over: %w", err)
		}
		if f.kind == kindDone {
			closeAll(f.fds)
			var end done
			if err := f.as(kindDone, &end); err != nil {
				return connections, nil, fmt.Errorf("hand-over: %w", err)
			}
			_ = s.send(kindAck, ack{Seq: end.Seq}, nil) // the old process has nothing left to do
			return connections, end.State, nil
		}
		n, err := s.takeBatch(f, to)
		connections += n
		if err != nil {
			return connections, nil, fmt.Errorf("hand-over: %w", err)
		}
	}
}

// takeBatch takes over the connections of a message. With the acknowledgement they belong to this
// process: only then are their sockets touched.
func (s *Session) takeBatch(f *frame, to New) (taken int, err error) {
	var message batch
	if err := f.as(kindBatch, &message); err != nil {
		closeAll(f.fds)
		return 0, err
	}
	answer := ack{Seq: message.Seq}
	all, err := unpack(&message, f)
	if err != nil {
		closeAll(f.fds)
		answer.Error = err.Error()
		return 0, s.send(kindAck, answer, nil)
	}
	var mine []proxy.Moved
	for i := range all {
		if err := to.Check(&all[i]); err != nil {
			closeAll(descriptors(&all[i]))
			answer.Left = append(answer.Left, left{Index: i, Reason: err.Error()})
			continue
		}
		mine = append(mine, all[i])
	}
	// If the old process is gone, the connections have no other owner.
	if err = s.send(kindAck, answer, nil); err != nil && !closedByPeer(err) {
		for i := range mine {
			closeAll(descriptors(&mine[i]))
		}
		return 0, err
	}
	to.Adopt(mine)
	return len(mine), err
}

// unpack is the reverse of pack. It checks every number.
func unpack(message *batch, f *frame) ([]proxy.Moved, error) {
	if f.lost {
		return nil, errors.New("too many open files: raise the limit (LimitNOFILE=, ulimit -n)")
	}
	all := make([]proxy.Moved, len(message.Connections))
	raw, fds := f.raw, f.fds
	next := func(has bool) int {
		if !has || len(fds) == 0 {
			return -1
		}
		fd := fds[0]
		fds = fds[1:]
		return fd
	}
	wanted, pending := 0, 0
	for i := range message.Connections {
		e := &message.Connections[i]
		for _, has := range [...]bool{e.HasClient, e.HasBackend} {
			if has {
				wanted++
			}
		}
		m := &all[i]
		*m = e.Connection
		m.Client, m.Backend = next(e.HasClient), next(e.HasBackend)
		for end, n := range e.Pending {
			if n < 0 || n > len(raw) {
				return nil, fmt.Errorf("connection %d announces %d bytes, but only %d arrived", i, n, len(raw))
			}
			m.Pending[end], raw = bytes.Clone(raw[:n]), raw[n:] // the message is not kept for the slowest reader
			pending += n
		}
	}
	if wanted != len(f.fds) || pending != len(f.raw) {
		return nil, fmt.Errorf("%d descriptors and %d bytes came for connections with %d and %d",
			len(f.fds), len(f.raw), wanted, pending)
	}
	return all, nil
}
