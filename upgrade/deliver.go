package upgrade

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/proxy"
)

// A message holds at most this many connections, and about this many bytes: their descriptors have
// to fit, and a message that is lost should hold up few connections.
const (
	batchConnections = 100
	batchBytes       = 8 << 20
)

// move hands over all connections and the final state.
func (u *old) move() error {
	left, err := u.from.Move(u.deliver)
	if u.gone {
		return cmp.Or(err, u.broken)
	}
	if err != nil {
		u.Log.Warn("upgrade: connections stay with the old process", "connections", left, "error", err.Error())
	}
	u.result.Left = left
	u.seq++
	u.step(u.Limits.Ack)
	err = u.send(kindDone, done{Seq: u.seq, State: u.from.Final()}, nil)
	if err == nil {
		_, err = u.acknowledged(u.seq)
	}
	if err == nil {
		return nil
	}
	if u.how(0) != "" || closedByPeer(err) || errors.Is(err, io.EOF) {
		return u.failed("after it had taken over", u.Limits.Ack, err)
	}
	// It has acknowledged every batch, so it serves. Killing it would cost all connections.
	u.Log.Warn("the new process has not acknowledged the final state", "pid", u.pid(), "error", err.Error())
	return nil
}

// deliver is the Deliver of an upgrade. Once a message has failed, so do all that follow.
func (u *old) deliver(all []proxy.Moved) (left []int, err error) {
	if u.broken != nil {
		return nil, u.broken
	}
	for next := 0; next < len(all); {
		n := fitting(all[next:])
		if n == 0 { // its bytes alone are too many
			left = append(left, next)
			next++
			continue
		}
		some, err := u.deliverSome(all[next : next+n])
		if err != nil && next == 0 {
			u.broken = err
			return nil, err
		}
		for _, i := range some {
			left = append(left, next+i)
		}
		next += n
		if err != nil { // the rest fails when it is tried again
			u.broken = err
			for ; next < len(all); next++ {
				left = append(left, next)
			}
		}
	}
	return left, nil
}

// fitting is how many of the first connections fit into one message.
func fitting(all []proxy.Moved) (n int) {
	bytes := 0
	for n < len(all) && n < batchConnections {
		bytes += len(all[n].Pending[0]) + len(all[n].Pending[1])
		if bytes > batchBytes && n > 0 || bytes > maxRaw {
			break
		}
		n++
	}
	return n
}

// deliverSome moves what fits into one message. With an error, left holds all.
func (u *old) deliverSome(some []proxy.Moved) (left []int, err error) {
	began := time.Now()
	u.seq++
	message, raw, fds := pack(u.seq, some)
	u.step(u.Limits.Ack)
	err = u.send(kindBatch, message, raw, fds...)
	var answer ack
	if err == nil {
		answer, err = u.acknowledged(u.seq)
	}
	if err != nil {
		return u.takeBack(some, err)
	}
	if answer.Error != "" {
		return indexes(len(some)), fmt.Errorf("the new process cannot take connections: %s", answer.Error)
	}
	for _, l := range answer.Left {
		if l.Index < 0 || l.Index >= len(some) || slices.Contains(left, l.Index) {
			continue // it is not about a connection of this batch
		}
		left = append(left, l.Index)
		u.Log.Debug("connection stays with the old process", "listener", some[l.Index].Listener, "reason", l.Reason)
	}
	u.result.Moved += len(some) - len(left)
	u.result.LongestBatch = max(u.result.LongestBatch, Seconds(time.Since(began)))
	return left, nil
}

func indexes(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// pack makes the message about connections.
func pack(seq int, some []proxy.Moved) (message batch, raw []byte, fds []int) {
	message = batch{Seq: seq, Connections: make([]entry, 0, len(some))}
	for i := range some {
		m := &some[i]
		message.Connections = append(message.Connections, entry{
			HasClient: m.Client >= 0, HasBackend: m.Backend >= 0,
			Pending:    [2]int{len(m.Pending[0]), len(m.Pending[1])},
			Connection: *m,
		})
		raw = append(append(raw, m.Pending[0]...), m.Pending[1]...)
		fds = append(fds, descriptors(m)...)
	}
	return message, raw, fds
}

// descriptors are those that a connection has.
func descriptors(m *proxy.Moved) (fds []int) {
	for _, fd := range [...]int{m.Client, m.Backend} {
		if fd >= 0 {
			fds = append(fds, fd)
		}
	}
	return fds
}

// takeBack decides about a batch without an acknowledgement. The new process is killed first:
// alive, it could still read from the connections. If its acknowledgement had been on the way, it
// may have read from them. Then they count as moved, and end with a reset when this process closes
// them, because a stream with a hole in it must not look complete.
func (u *old) takeBack(some []proxy.Moved, cause error) (left []int, err error) {
	err = u.failed("while connections moved to it; those that had moved are lost", u.Limits.Ack, cause)
	u.end()
	u.until(time.Now().Add(time.Second))
	if a, late := u.acknowledged(u.seq); late != nil || a.Error != "" {
		return indexes(len(some)), err
	}
	for i := range some {
		for _, fd := range descriptors(&some[i]) {
			rawsys.SetLinger(fd, 1, 0)
		}
	}
	u.result.Moved += len(some)
	return nil, err
}

// acknowledged waits for the acknowledgement of a message.
func (u *old) acknowledged(seq int) (ack, error) {
	var a ack
	if err := u.expect(kindAck, &a); err != nil {
		return a, err
	}
	if a.Seq != seq {
		return a, fmt.Errorf("message %d was acknowledged instead of %d", a.Seq, seq)
	}
	return a, nil
}

// closedByPeer reports whether the other process has closed its end.
func closedByPeer(err error) bool {
	return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, os.ErrClosed)
}
