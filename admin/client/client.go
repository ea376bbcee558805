// Package client talks to the admin address of a running proxy.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"l4proxy/admin"
)

const (
	// connectTimeout bounds the connection to an address that does not answer.
	connectTimeout = 5 * time.Second
	// readTimeout bounds a request that changes nothing, changeTimeout one that does. The proxy
	// gives a command two minutes.
	readTimeout   = 10 * time.Second
	changeTimeout = 150 * time.Second
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 256 << 20
)

// Client is a client of one admin address. Make one with [New]; it holds no connection.
type Client struct {
	address string
	token   string
	base    string        // of URLs
	read    time.Duration // readTimeout, but for tests
	http    http.Client
}

// New returns a client of an address as in admin.bind: host:port or unix:/path. An address that
// stands for all addresses of the machine is reached at its loopback address.
func New(address, token string) (*Client, error) {
	network, target := "tcp", strings.TrimSuffix(strings.TrimPrefix(address, "http://"), "/")
	host := "localhost" // of a unix socket
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		network, target = "unix", path
		if path == "" {
			return nil, fmt.Errorf("the admin address %q has no path: write unix:/path", address)
		}
	} else {
		name, port, err := net.SplitHostPort(target)
		if err != nil || port == "" {
			return nil, fmt.Errorf("%q is not an admin address: write host:port or unix:/path", address)
		}
		if ip, err := netip.ParseAddr(name); name == "" || err == nil && ip.IsUnspecified() {
			name = "127.0.0.1"
			if ip.Is6() {
				name = "::1"
			}
		}
		target = net.JoinHostPort(name, port)
		host = target
	}
	dialer := net.Dialer{Timeout: connectTimeout}
	return &Client{
		address: address,
		token:   token,
		read:    readTimeout,
		base:    "http://" + strings.ReplaceAll(host, "%", "%25"), // a zone, RFC 6874
		http: http.Client{
			Transport: &http.Transport{ // without a proxy: the token is for this address only
				DisableKeepAlives: true,
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return dialer.DialContext(ctx, network, target)
				},
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Address is the address as it was given to New.
func (c *Client) Address() string { return c.address }

// UnreachableError is the error of an address at which no admin API answers.
type UnreachableError struct {
	Address string
	Err     error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no answer from the admin address %s: %v", e.Address, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// Status asks for the status.
func (c *Client) Status(ctx context.Context) (*admin.Status, error) {
	return do[admin.Status](ctx, c, http.MethodGet, "/api/v1/status", nil)
}

// Reload loads the configuration again.
func (c *Client) Reload(ctx context.Context, request admin.ReloadRequest) (*admin.Reload, error) {
	return do[admin.Reload](ctx, c, http.MethodPost, "/api/v1/reload", request)
}

// Keep confirms the last reload.
func (c *Client) Keep(ctx context.Context) error {
	_, err := do[struct{}](ctx, c, http.MethodPost, "/api/v1/reload/keep", nil)
	return err
}

// Rollback returns to the last confirmed configuration.
func (c *Client) Rollback(ctx context.Context) error {
	_, err := do[struct{}](ctx, c, http.MethodPost, "/api/v1/reload/rollback", nil)
	return err
}

// Drain starts a drain, or undoes it.
func (c *Client) Drain(ctx context.Context, request admin.DrainRequest) (*admin.Drain, error) {
	return do[admin.Drain](ctx, c, http.MethodPost, "/api/v1/drain", request)
}

// SetBackend sets the state of a backend.
func (c *Client) SetBackend(ctx context.Context, pool, address string, change admin.BackendChange) (*admin.Drain, error) {
	path := "/api/v1/pools/" + url.PathEscape(pool) + "/backends/" + url.PathEscape(address)
	return do[admin.Drain](ctx, c, http.MethodPatch, path, change)
}

// SetWeight gives a backend another weight while the proxy runs; [admin.ConfiguredWeight] returns
// to that of the configuration.
func (c *Client) SetWeight(ctx context.Context, pool, address string, weight admin.Weight) (*admin.Drain, error) {
	return c.SetBackend(ctx, pool, address, admin.BackendChange{Weight: &weight})
}

// Config asks for the configuration in effect.
func (c *Client) Config(ctx context.Context) (*admin.RunningConfig, error) {
	return do[admin.RunningConfig](ctx, c, http.MethodGet, "/api/v1/config", nil)
}

// Listeners asks for all listeners.
func (c *Client) Listeners(ctx context.Context) ([]admin.ListenerStatus, error) {
	return doList[admin.ListenerStatus](ctx, c, "/api/v1/listeners")
}

// Pools asks for all pools.
func (c *Client) Pools(ctx context.Context) ([]admin.PoolStatus, error) {
	return doList[admin.PoolStatus](ctx, c, "/api/v1/pools")
}

// doList asks for a list.
func doList[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	list, err := do[[]T](ctx, c, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return *list, nil
}

// Connections asks for a page of live connections.
func (c *Client) Connections(ctx context.Context, q admin.ConnectionQuery) (*admin.ConnectionPage, error) {
	query, err := encode(q)
	if err != nil {
		return nil, err
	}
	return do[admin.ConnectionPage](ctx, c, http.MethodGet, "/api/v1/connections"+query, nil)
}

// Kill ends connections.
func (c *Client) Kill(ctx context.Context, request admin.KillRequest) (*admin.Kill, error) {
	return do[admin.Kill](ctx, c, http.MethodDelete, "/api/v1/connections", request)
}

// Bans asks for a page of bans.
func (c *Client) Bans(ctx context.Context, q admin.BanQuery) (*admin.BanPage, error) {
	query, err := encode(q)
	if err != nil {
		return nil, err
	}
	return do[admin.BanPage](ctx, c, http.MethodGet, "/api/v1/bans"+query, nil)
}

// Ban sets bans.
func (c *Client) Ban(ctx context.Context, request admin.BanRequest) (*admin.Banned, error) {
	return do[admin.Banned](ctx, c, http.MethodPut, "/api/v1/bans", request)
}

// Unban removes bans.
func (c *Client) Unban(ctx context.Context, request admin.UnbanRequest) (*admin.Unbanned, error) {
	return do[admin.Unbanned](ctx, c, http.MethodDelete, "/api/v1/bans", request)
}

// Upgrade replaces the process with one of another binary.
func (c *Client) Upgrade(ctx context.Context, request admin.UpgradeRequest) (*admin.Upgrade, error) {
	return do[admin.Upgrade](ctx, c, http.MethodPost, "/api/v1/upgrade", request)
}

// Explain asks what would happen to a client.
func (c *Client) Explain(ctx context.Context, q admin.ExplainQuery) (*admin.Explain, error) {
	values := make(url.Values)
	if q.Listener != "" {
		values.Set("listener", q.Listener)
	}
	if q.From.IsValid() {
		values.Set("from", q.From.String())
	}
	if q.SNI != "" {
		values.Set("sni", q.SNI)
	}
	if q.ALPN != "" {
		values.Set("alpn", q.ALPN)
	}
	if q.TLS != nil {
		values.Set("tls", strconv.FormatBool(*q.TLS))
	}
	return do[admin.Explain](ctx, c, http.MethodGet, "/api/v1/explain?"+values.Encode(), nil)
}

// Debug asks what is logged.
func (c *Client) Debug(ctx context.Context) (*admin.Debug, error) {
	return do[admin.Debug](ctx, c, http.MethodGet, "/api/v1/debug", nil)
}

// SetDebug changes what is logged.
func (c *Client) SetDebug(ctx context.Context, request admin.DebugRequest) (*admin.Debug, error) {
	return do[admin.Debug](ctx, c, http.MethodPost, "/api/v1/debug", request)
}

// do sends one request. An answer that is not a success becomes an [*admin.Error]. A process that
// hangs still accepts connections, so there is a limit for the answer too.
func do[T any](ctx context.Context, c *Client, method, path string, body any) (*T, error) {
	limit := changeTimeout
	if method == http.MethodGet {
		limit = c.read
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, timeoutError{limit})
	defer cancel()
	r, err := c.request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(ctx, withoutURL(err))
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if response.StatusCode >= 300 {
		return nil, c.refusal(response, text)
	}
	answer := new(T)
	if err := json.Unmarshal(text, answer); err != nil {
		return nil, c.foreign("its answer is not JSON")
	}
	return answer, nil
}

// request makes a request with the token. A body is sent as JSON; nil is none.
func (c *Client) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, sent)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return r, nil
}

// refusal is the error of an answer that is not a success.
func (c *Client) refusal(response *http.Response, text []byte) error {
	e := &admin.Error{Status: response.StatusCode}
	if json.Unmarshal(text, e) != nil || e.Message == "" {
		return c.foreign(fmt.Sprintf("it answered %s", response.Status))
	}
	return e
}

// withoutURL is an error of net/http without the URL, which its text repeats.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// timeoutError is the error of a process that takes a request and does not answer.
type timeoutError struct{ limit time.Duration }

func (e timeoutError) Error() string { return fmt.Sprintf("it took longer than %s", e.limit) }

// Is reports what it stands for.
func (e timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

func (c *Client) unreachable(ctx context.Context, err error) error {
	if late := new(timeoutError); errors.As(context.Cause(ctx), late) {
		err = *late
	}
	return &UnreachableError{c.address, err}
}

// foreign is the error of an answer that no l4proxy gives.
func (c *Client) foreign(why string) error {
	return fmt.Errorf("%s is not the admin address of an l4proxy: %s", c.address, why)
}
