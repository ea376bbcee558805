package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Rate is the load of the traffic, in connections per second. Each is a line in the log.
	Rate = 5
	// streamEvery and deniedEvery say which of the requests are different: a long one, and one of a
	// client that is denied.
	streamEvery = 10
	deniedEvery = 25
	// inFlight bounds the requests that wait for an answer; beyond it, a turn is skipped.
	inFlight = 30
	// patience is how long a client waits: with a backend that hangs, it gives up and counts as
	// failed.
	patience = 4 * time.Second
	// typicalBytes is the median size of an answer, and mostBytes the largest.
	typicalBytes = 8 << 10
	mostBytes    = 512 << 10
	// shortestStream and longestStream bound the time of a long request.
	shortestStream = 5 * time.Second
	longestStream  = 40 * time.Second
)

// Traffic makes Rate requests per second, each on a connection of its own.
type Traffic struct {
	addr   string
	denied netip.Addr
	local  bool // clients may have any address of 127.0.0.0/8
	client http.Client
	// patience is how long a client waits for the next byte.
	patience time.Duration

	sent, failed atomic.Uint64
}

// NewTraffic makes the load for the proxy at addr. If that is one of 127.0.0.0/8, the clients have
// the address from, and now and then the address denied, which the proxy denies.
func NewTraffic(addr string, from, denied netip.Addr) *Traffic {
	t := &Traffic{addr: addr, denied: denied, patience: patience}
	dialer := &net.Dialer{Timeout: patience}
	if to, err := netip.ParseAddrPort(addr); err == nil && to.Addr().Is4() && to.Addr().IsLoopback() {
		t.local = true
		dialer.LocalAddr = source(from)
	}
	// Its Proxy stays nil: this is to reach the demo, whatever the environment says.
	t.client.Transport = &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	return t
}

func source(ip netip.Addr) net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)) }

// Run makes requests until ctx is done, and returns when the last one has ended.
func (t *Traffic) Run(ctx context.Context) {
	ticker := time.NewTicker(time.Second / Rate)
	defer ticker.Stop()
	var requests sync.WaitGroup
	defer requests.Wait()
	free := make(chan struct{}, inFlight)
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case free <- struct{}{}:
		default:
			continue
		}
		request := t.kind(n)
		requests.Go(func() {
			defer func() { <-free }()
			err := request(ctx)
			if ctx.Err() != nil {
				return // cut off by the end of the demo
			}
			t.sent.Add(1)
			if err != nil {
				t.failed.Add(1)
			}
		})
	}
}

// kind is what the n-th client does.
func (t *Traffic) kind(n int) func(context.Context) error {
	switch {
	case n%deniedEvery == 0 && t.local:
		return t.knock
	case n%streamEvery == 0:
		lasts := shortestStream + rand.N(longestStream-shortestStream)
		return func(ctx context.Context) error {
			return t.get(ctx, fmt.Sprintf("/stream?for=%dms", lasts.Milliseconds()))
		}
	}
	size := min(int(typicalBytes*rand.ExpFloat64()*rand.ExpFloat64()), mostBytes)
	return func(ctx context.Context) error { return t.get(ctx, fmt.Sprintf("/?bytes=%d", size)) }
}

// get reads the whole answer to a request. It fails if no byte arrives for a while.
func (t *Traffic) get(ctx context.Context, path string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	impatient := time.AfterFunc(t.patience, func() { cancel(errors.New("no answer")) })
	defer impatient.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.addr+path, nil)
	if err != nil {
		return err
	}
	answer, err := t.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", answer.Status)
	}
	buffer := make([]byte, 16<<10)
	for {
		impatient.Reset(t.patience)
		if _, err := answer.Body.Read(buffer); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// knock connects as a client that the proxy denies. It fails if the proxy serves it.
func (t *Traffic) knock(ctx context.Context) error {
	dialer := net.Dialer{LocalAddr: source(t.denied), Timeout: patience}
	conn, err := dialer.DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, mostBytes))
	if bytes.Contains(answer, []byte("says hello")) {
		return errors.New("served a client that it should deny")
	}
	return err
}

// Counts returns how many requests were answered, denied or failed, and how many of these failed.
func (t *Traffic) Counts() (sent, failed uint64) { return t.sent.Load(), t.failed.Load() }
