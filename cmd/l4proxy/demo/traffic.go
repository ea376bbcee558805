package demo

import (
	"context"
	"fmt"
	"io"
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
	// inFlight bounds the requests that wait for an answer; beyond it, a turn is skipped.
	inFlight = 20
	// requestTimeout bounds one request.
	requestTimeout = 5 * time.Second
)

// Traffic makes Rate requests per second, each on a connection of its own.
type Traffic struct {
	url    string
	client http.Client

	sent, failed atomic.Uint64
}

// NewTraffic makes the load for the proxy at addr. Its clients have the address from if addr is one
// of 127.0.0.0/8.
func NewTraffic(addr string, from netip.Addr) *Traffic {
	dialer := &net.Dialer{}
	if to, err := netip.ParseAddrPort(addr); err == nil && to.Addr().Is4() && to.Addr().IsLoopback() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return &Traffic{
		url: "http://" + addr + "/",
		client: http.Client{
			Timeout: requestTimeout,
			// Proxy stays nil: this is to reach the demo, whatever the environment says.
			Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true},
		},
	}
}

// Run makes requests until ctx is done, and returns when the last one has ended.
func (t *Traffic) Run(ctx context.Context) {
	ticker := time.NewTicker(time.Second / Rate)
	defer ticker.Stop()
	var requests sync.WaitGroup
	defer requests.Wait()
	free := make(chan struct{}, inFlight)
	for {
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
		requests.Go(func() {
			defer func() { <-free }()
			t.request(ctx)
		})
	}
}

func (t *Traffic) request(ctx context.Context) {
	err := t.get(ctx)
	if ctx.Err() != nil {
		return // cut off by the end of the demo
	}
	t.sent.Add(1)
	if err != nil {
		t.failed.Add(1)
	}
}

func (t *Traffic) get(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
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
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// Counts returns how many requests were answered or failed, and how many of these failed.
func (t *Traffic) Counts() (sent, failed uint64) { return t.sent.Load(), t.failed.Load() }
