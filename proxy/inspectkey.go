package proxy

import (
	"fmt"
	"strconv"
	"strings"
)

// A connKey identifies a connection of a Server. The serial counts the connections of the worker,
// from a random number on: no connection has the key of an earlier one, and hardly any that of one
// in another process.
type connKey struct {
	worker int32
	index  uint32
	serial uint32
}

func (w *worker) keyOf(c *conn) connKey { return connKey{int32(w.number), c.index, c.serial} }

// String is the key as ConnInfo.ID.
func (k connKey) String() string { return fmt.Sprintf("%d-%d-%d", k.worker, k.index, k.serial) }

// parseConnKey reads what String writes.
func parseConnKey(text string) (k connKey, ok bool) {
	parts := strings.Split(text, "-")
	if len(parts) != 3 {
		return k, false
	}
	var numbers [3]uint64
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return k, false
		}
		numbers[i] = n
	}
	k = connKey{int32(numbers[0]), uint32(numbers[1]), uint32(numbers[2])}
	return k, k.String() == text
}

// withKey returns the connection of a key, nil if it has ended.
func (w *worker) withKey(k connKey) *conn {
	if k.index >= w.indices() {
		return nil
	}
	if c := w.conn(k.index); c.state != stateNone && c.serial == k.serial {
		return c
	}
	return nil
}

// workerOf returns the worker of a key, nil if there is no such worker.
func (s *Server) workerOf(k connKey) *worker {
	if k.worker < 0 || int(k.worker) >= len(s.workers) {
		return nil
	}
	return s.workers[k.worker]
}
