package main

import (
	"context"

	"l4proxy/bench/traffic"
)

// smallMessage is the size of requests and answers if the connection is the work.
const smallMessage = 128

// answering is an origin that answers each request of a connection.
func answering(request, answer int) func(bench) (*process, error) {
	return func(b bench) (*process, error) {
		return b.startOrigin(traffic.OriginSpec{Work: traffic.Request, RequestBytes: request, ResponseBytes: answer})
	}
}

// answeringOnce is an origin that answers one request and closes.
func answeringOnce() func(bench) (*process, error) {
	return func(b bench) (*process, error) {
		return b.startOrigin(traffic.OriginSpec{
			Work: traffic.Connection, RequestBytes: len(b.opening) + smallMessage, ResponseBytes: smallMessage, Opening: b.opening,
		})
	}
}

func requestMetrics() []metric {
	return []metric{
		{name: "requests/s", higher: true},
		{name: "p50 ms", digits: 2},
		{name: "p99 ms", digits: 2},
		{name: "p99.9 ms", digits: 2},
		{name: "CPU µs/request", digits: 1},
		{name: "machine CPU µs/request", digits: 1},
	}
}

func latencyMetrics() []metric {
	return []metric{
		{name: "requests/s", uncompared: true},
		{name: "p50 ms", digits: 3},
		{name: "p90 ms", digits: 3},
		{name: "p99 ms", digits: 3},
		{name: "p99.9 ms", digits: 3},
		{name: "max ms", digits: 1, uncompared: true},
		{name: "generator late p99 ms", digits: 3, uncompared: true},
		{name: "CPU µs/request", digits: 1},
		{name: "machine CPU µs/request", digits: 1},
	}
}

func connectionMetrics() []metric {
	return []metric{
		{name: "connections/s", higher: true},
		{name: "p50 ms", digits: 2},
		{name: "p99 ms", digits: 2},
		{name: "CPU µs/connection", digits: 1},
		{name: "machine CPU µs/connection", digits: 1},
	}
}

// requests sends requests on n persistent connections, at the rate of b or as fast as
// they are answered.
func requests(n, request, answer int) func(context.Context, bench) (measured, error) {
	return func(ctx context.Context, b bench) (measured, error) {
		return b.load(ctx, "request", traffic.ClientSpec{
			Work: traffic.Request, Connections: n, RequestBytes: request, ResponseBytes: answer, Rate: b.rate,
		})
	}
}

// connections opens a connection for each request, n at a time.
func connections(n int) func(context.Context, bench) (measured, error) {
	return func(ctx context.Context, b bench) (measured, error) {
		return b.load(ctx, "connection", traffic.ClientSpec{
			Work: traffic.Connection, Connections: n, RequestBytes: len(b.opening) + smallMessage, ResponseBytes: smallMessage,
			Opening: b.opening, Rate: b.rate,
		})
	}
}
