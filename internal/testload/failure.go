package testload

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// Failure is why a connection failed.
type Failure string

// All failures.
const (
	Refused Failure = "refused" // by the proxy
	Reset   Failure = "reset"
	Short   Failure = "short"   // it ended too early, with a FIN
	Stalled Failure = "stalled" // no progress for Spec.Patience
	Corrupt Failure = "corrupt" // a wrong byte, or one too many
	Local   Failure = "local"   // this machine is out of ports or descriptors: no fault of the proxy
	Other   Failure = "other"
)

// errCorrupt marks bytes that differ from what was sent.
var errCorrupt = errors.New("wrong bytes")

// errStalled is a wait that no deadline of a connection bounds.
var errStalled = fmt.Errorf("no progress: %w", os.ErrDeadlineExceeded)

func classify(err error) Failure {
	switch {
	case errors.Is(err, errCorrupt):
		return Corrupt
	case errors.Is(err, unix.ECONNREFUSED):
		return Refused
	case testnet.IsReset(err):
		return Reset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Short
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ETIMEDOUT):
		return Stalled
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EADDRINUSE),
		errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return Local
	}
	return Other
}

// mostExamples bounds the failures that a report describes. All are counted.
const mostExamples = 20

// fail records a failed connection.
func (l *Load) fail(what string, err error) {
	class := classify(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures[class]++
	if len(l.examples) < mostExamples {
		at := time.Since(l.began).Round(time.Millisecond)
		l.examples = append(l.examples, fmt.Sprintf("at %v, %s: %s: %v", at, what, class, err))
	}
}
