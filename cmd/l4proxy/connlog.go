package main

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"l4proxy/proxy"
)

// connectionLog writes one line for each finished connection.
type connectionLog struct{ log *slog.Logger }

// finished is called on one goroutine, for each connection.
func (c connectionLog) finished(r *proxy.Record) {
	level := levelOf(r.Reason)
	if !c.log.Enabled(context.Background(), level) {
		return
	}
	client, backend, pool := addressOf(r.Client), "", ""
	if r.Pool != nil {
		pool = r.Pool.Name
	}
	if r.Backend != nil {
		backend = r.Backend.Address
	}
	attributes := []slog.Attr{
		slog.String("listener", r.Listener.Name),
		slog.String("client", client),
		slog.String("backend", backend),
		slog.String("pool", pool),
		slog.Uint64("bytes_in", r.BytesIn),
		slog.Uint64("bytes_out", r.BytesOut),
		seconds("duration", r.Duration),
		seconds("connect_time", r.Connect),
		slog.Int("attempts", r.Attempts),
		slog.String("reason", r.Reason.String()),
		slog.String("side", r.Side.String()),
		slog.String("rule", r.Rule),
		seconds("tcp_rtt", r.RTT),
		slog.Uint64("retransmits", uint64(r.Retransmits)),
	}
	if r.ViaProxy {
		attributes = append(attributes, slog.String("peer", addressOf(r.Peer)))
	}
	if r.ServerName != "" {
		attributes = append(attributes, slog.String("sni", r.ServerName))
	}
	if r.UniqueID != "" {
		attributes = append(attributes, slog.String("unique_id", r.UniqueID))
	}
	if r.Reason == proxy.ReasonError {
		attributes = append(attributes, slog.String("error", r.Errno.Error()))
	}
	if r.Shadow != "" {
		attributes = append(attributes, slog.String("shadow", r.Shadow))
	}
	if len(r.Failed) > 0 {
		attributes = append(attributes, slog.String("failed", failedDials(r.Failed)))
	}
	c.log.LogAttrs(context.Background(), level, "connection", attributes...)
}

// addressOf is the address of a client or peer.
func addressOf(a netip.AddrPort) string {
	if !a.IsValid() {
		return "unix"
	}
	return a.String()
}

// failedDials lists the backends, each with the reason why its dial failed.
func failedDials(all []proxy.FailedDial) string {
	var text strings.Builder
	for i, f := range all {
		if i > 0 {
			text.WriteString(", ")
		}
		text.WriteString(f.Backend.Address + " " + f.Reason.String())
	}
	return text.String()
}

// seconds is a time in seconds, the unit that the metrics have too, to the microsecond.
func seconds(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, float64(d.Microseconds())/1e6)
}

// levelOf is info for ordinary ends, and warn for clients that should have been served and were
// not.
func levelOf(r proxy.Reason) slog.Level {
	switch r {
	case proxy.ReasonBadProxyHeader, proxy.ReasonNoBackend, proxy.ReasonQueueFull, proxy.ReasonQueueTimeout, proxy.ReasonConnectRefused, proxy.ReasonConnectTimeout, proxy.ReasonConnectUnreachable, proxy.ReasonStartTLSRefused,
		proxy.ReasonLocalPorts, proxy.ReasonNoSource, proxy.ReasonLocalResources, proxy.ReasonError:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}
