package backend

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// trouble is what an operator wants to know of a backoff or an ejection. Nothing decides by it.
type trouble struct {
	backoffSince atomic.Int64
	ejectedSince atomic.Int64
	dialError    atomic.Uint32 // of the last failed dial
}

// BackoffSince returns when the backoff began; 0 if that is unknown. Any goroutine may call it.
func (b *Backend) BackoffSince() int64 { return b.trouble.backoffSince.Load() }

// EjectedSince returns when the ejection began; 0 if that is unknown. Any goroutine may call it.
func (b *Backend) EjectedSince() int64 { return b.trouble.ejectedSince.Load() }

// NoteEjection notes when the ejection began.
func (b *Backend) NoteEjection(now int64) { b.trouble.ejectedSince.Store(now) }

// NoteDialError notes why a dial failed. Any goroutine may call it.
func (b *Backend) NoteDialError(errno unix.Errno) { b.trouble.dialError.Store(uint32(errno)) }

// DialError returns why the last failed dial failed; 0 if that is unknown. Any goroutine may call
// it.
func (b *Backend) DialError() unix.Errno { return unix.Errno(b.trouble.dialError.Load()) }
