package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"l4proxy/admin"
	"l4proxy/proxy"
)

// connsTimeout is how long the event loops may take to list connections.
const connsTimeout = 5 * time.Second

// adminConnections lists live connections.
func (p *process) adminConnections(ctx context.Context, q admin.ConnectionQuery) (*admin.ConnectionPage, error) {
	ctx, cancel := context.WithTimeout(ctx, connsTimeout)
	defer cancel()
	page, err := p.server.ListConnections(ctx, proxy.ConnQuery{
		ConnFilter: connFilter(&q.ConnectionFilter), Sort: proxy.ConnSort(q.Sort), Limit: q.Limit, After: q.After,
	})
	switch {
	case errors.Is(err, proxy.ErrExpired):
		return nil, &admin.Error{Status: http.StatusGone, Message: err.Error(), Hint: "start again without after"}
	case errors.Is(err, proxy.ErrAfter):
		return nil, admin.Invalid(err.Error(), "repeat the filters and the order of that page, with its next; or leave out after")
	case err != nil:
		return nil, loopsError(err)
	}
	if page.Matched == 0 {
		if err := p.unknownName(&q.ConnectionFilter); err != nil {
			return nil, err
		}
	}
	answer := &admin.ConnectionPage{Total: page.Total, Matched: page.Matched, Next: page.Next}
	answer.Connections = shownConns(page.Conns, time.Now())
	return answer, nil
}

// loopsError is the answer if the event loops do not answer.
func loopsError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &admin.Error{Status: http.StatusServiceUnavailable, Message: "an event loop does not answer", Hint: "see /healthz"}
	}
	return &admin.Error{Status: http.StatusServiceUnavailable, Message: err.Error()}
}

func connFilter(f *admin.ConnectionFilter) proxy.ConnFilter {
	return proxy.ConnFilter{
		Listener: f.Listener, Pool: f.Pool, Backend: f.Backend, From: f.From.Prefix,
		OlderThan: time.Duration(f.OlderThan), Idle: time.Duration(f.Idle),
	}
}

func shownConns(conns []proxy.ConnInfo, now time.Time) []admin.Connection {
	all := make([]admin.Connection, 0, len(conns))
	for i := range conns {
		all = append(all, shownConn(&conns[i], now))
	}
	return all
}

func shownConn(c *proxy.ConnInfo, now time.Time) admin.Connection {
	shown := admin.Connection{
		ID: c.ID, Listener: c.Listener, Pool: c.Pool, Client: addressOf(c.Client), Backend: c.Backend, State: string(c.State),
		Accepted: now.Add(-c.Age).UTC().Truncate(time.Millisecond), Age: admin.Seconds(c.Age), Idle: admin.Seconds(c.Idle),
		BytesIn: c.BytesIn, BytesOut: c.BytesOut, RateIn: c.RateIn, RateOut: c.RateOut,
		ClientTCP: shownTCP(c.ClientTCP), BackendTCP: shownTCP(c.BackendTCP), Traced: c.Traced,
	}
	if shown.ServerName = c.ServerName; c.ViaProxy {
		shown.Peer = addressOf(c.Peer)
	}
	return shown
}

func shownTCP(t *proxy.ConnTCP) *admin.TCPInfo {
	if t == nil {
		return nil
	}
	return &admin.TCPInfo{RTT: admin.Seconds(t.RTT), Retransmits: t.Retransmits, Unacked: t.Unacked}
}
