package testload

import (
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// Origin is the server behind the proxy. It has several addresses, so that the proxy does not run
// out of source ports.
type Origin struct {
	Addrs []string

	mu    sync.Mutex
	flows map[testnet.Stream]*halfClosed // that the origin has a part in
}

// Serve starts an origin on n addresses, which runs until the end of the test. A connection that
// ends before it has sent anything, such as a health check, is ignored.
func Serve(t testing.TB, n int) *Origin {
	t.Helper()
	o := &Origin{flows: make(map[testnet.Stream]*halfClosed)}
	for i := range n {
		b := testnet.Serve(t, "tcp", fmt.Sprintf("127.3.0.%d:0", i+1), o.serve)
		o.Addrs = append(o.Addrs, b.Addr)
	}
	return o
}

func (o *Origin) serve(c testnet.Conn) {
	h, err := readHeader(c)
	if err != nil {
		return
	}
	_ = c.SetDeadline(time.Time{}) // the client has the patience
	switch h.kind {
	case visit, visitClosing:
		p := make([]byte, h.length)
		if _, err := io.ReadFull(c, p); err == nil {
			_, _ = c.Write(p)
		}
	case exchange:
		testnet.Echo(c)
	case download:
		if f := o.flow(h.stream); f != nil {
			f.answer(c)
		}
	case upload:
		if f := o.flow(h.stream); f != nil {
			f.receive(c)
		}
	}
}

func (o *Origin) flow(s testnet.Stream) *halfClosed {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.flows[s]
}

func (o *Origin) add(s testnet.Stream, f *halfClosed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flows[s] = f
}

func (o *Origin) forget(s testnet.Stream) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.flows, s)
}
