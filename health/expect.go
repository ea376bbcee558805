package health

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
)

// Step is one line of a script: it has either Send or Receive.
type Step struct {
	Send    []byte // to be sent as it is
	Receive []byte // to be found in what comes
}

// maxReceived is the most that a server may send before what a step, or the body of an HTTP answer,
// must contain is found.
const maxReceived = 64 << 10

type expect struct {
	script []Step
	before []byte // see After
}

// NewExpect returns a Checker that carries out a script. A Receive is satisfied when the bytes
// received since the last satisfied one contain it, however they were cut into packets. A Send may
// fail if everything expected after it has been received: some servers answer each client as it
// connects, and close without reading.
func NewExpect(script []Step) Checker { return expect{script: script} }

func (c expect) Check(ctx context.Context, addr net.Addr, _ string) error {
	return withConn(ctx, addr, c.before, func(conn net.Conn) error {
		return c.talk(ctx, conn)
	})
}

func (c expect) talk(ctx context.Context, conn net.Conn) error {
	var in finder
	var unsent error
	for _, step := range c.script {
		if len(step.Send) > 0 && unsent == nil {
			if _, err := conn.Write(step.Send); err != nil {
				unsent = failed(ctx, "send "+quoted(step.Send), err)
			}
		}
		if len(step.Receive) > 0 {
			if err := in.until(ctx, conn, step.Receive); err != nil {
				return cmp.Or(unsent, err)
			}
		}
	}
	return nil
}

// finder looks for patterns in a stream.
type finder struct{ data []byte }

// until reads up to the first occurrence of pattern, and discards everything up to its end.
func (f *finder) until(ctx context.Context, r io.Reader, pattern []byte) error {
	chunk := make([]byte, 4096)
	looked := 0 // the pattern begins nowhere before
	for {
		if i := bytes.Index(f.data[looked:], pattern); i >= 0 {
			f.data = f.data[looked+i+len(pattern):]
			return nil
		}
		looked = max(0, len(f.data)-len(pattern)+1)
		if len(f.data) >= maxReceived {
			return fmt.Errorf("received %d bytes that begin with %s, expected %s", len(f.data), quoted(f.data), quoted(pattern))
		}
		n, err := r.Read(chunk[:min(len(chunk), maxReceived-len(f.data))])
		f.data = append(f.data, chunk[:n]...)
		if err != nil && n == 0 {
			return f.missing(ctx, err, pattern)
		}
	}
}

// missing describes what came instead of pattern, up to err.
func (f *finder) missing(ctx context.Context, err error, pattern []byte) error {
	came := "nothing"
	if len(f.data) > 0 {
		came = quoted(f.data)
	}
	switch {
	case isTimeout(ctx, err):
		return fmt.Errorf("%w: received %s, expected %s", errNoAnswer, came, quoted(pattern))
	case errors.Is(err, io.EOF):
		return fmt.Errorf("received %s before the end, expected %s", came, quoted(pattern))
	}
	return failed(ctx, fmt.Sprintf("received %s, expected %s", came, quoted(pattern)), err)
}
