package main

import (
	"fmt"
	"time"
)

// scenarios returns all scenarios, in the order of the report.
func scenarios() []scenario {
	var all []scenario
	for _, connections := range []int{1, 16, 64, 512, 4000} {
		all = append(all, request(connections))
	}
	for _, bytes := range []int{1, 1 << 10, 16 << 10, 64 << 10} {
		all = append(all, requestOf(bytes))
	}
	for _, clients := range []int{1, 16, 64, 512} {
		all = append(all, connection(clients))
	}
	for _, streams := range []int{1, 8} {
		all = append(all, bulk(streams))
	}
	for _, percent := range []int{30, 60, 90} {
		all = append(all, latency(percent))
	}
	for _, connections := range []int{1000, 4000, 8000} {
		all = append(all, idle(connections))
	}
	for _, backends := range []int{2, 100, 1000, 10_000} {
		all = append(all, manyBackends(backends))
	}
	for _, prefixes := range []int{0, 10, 10_000, 1_000_000} {
		all = append(all, manyPrefixes(prefixes))
	}
	for _, clients := range []int{64, 512} {
		all = append(all, routedBySNI(clients))
	}
	all = append(all, proxyHeader(64))
	all = append(all, startUp(10_000), observedRequests(4000), mix(), outageKill(), outageStop(), reloads(), upgrades())
	// Second opinions: the same kinds of work from other tools.
	all = append(all, http(64), http(512), httpClose(), redis(), iperf(1), iperf(8))
	return append(all, sustained(10*time.Minute))
}

// quick are the scenarios of "make bench": a change of the data plane shows in
// these first.
var quick = []string{"request-64", "request-512", "connection-64", "bulk-1", "idle-4000"}

// request is small messages on persistent connections.
func request(connections int) scenario {
	const bytes = 128
	return scenario{
		name:    fmt.Sprintf("request-%d", connections),
		about:   fmt.Sprintf("Requests of %d bytes, answers of the same size, persistent connections: %d (closed loop).", bytes, connections),
		family:  "request",
		x:       float64(connections),
		metrics: requestMetrics(),
		origin:  answering(bytes, bytes),
		run:     requests(connections, bytes, bytes),
	}
}

// requestOf is answers of different sizes on persistent connections.
func requestOf(bytes int) scenario {
	const connections = 64
	asked := min(bytes, 128)
	return scenario{
		name:    fmt.Sprintf("size-%d", bytes),
		about:   fmt.Sprintf("Requests of %d bytes, answers of %d, persistent connections: %d (closed loop).", asked, bytes, connections),
		family:  "size",
		x:       float64(bytes),
		metrics: requestMetrics(),
		origin:  answering(asked, bytes),
		run:     requests(connections, asked, bytes),
	}
}

// latency is requests at a rate that every peer can serve.
func latency(percent int) scenario {
	const connections, bytes = 64, 128
	return scenario{
		name: fmt.Sprintf("latency-%d", percent),
		about: fmt.Sprintf("Requests of %d bytes on %d persistent connections at %d %% of the slowest peer's highest rate (open loop).",
			bytes, connections, percent),
		family:  "latency",
		x:       float64(percent),
		metrics: latencyMetrics(),
		share:   float64(percent) / 100,
		// In a second or two, the worst moment decides the percentiles.
		atLeast: 5 * time.Second,
		origin:  answering(bytes, bytes),
		run:     requests(connections, bytes, bytes),
	}
}

// connection is a new connection for each request.
func connection(clients int) scenario {
	return scenario{
		name:    fmt.Sprintf("connection-%d", clients),
		about:   fmt.Sprintf("A new connection for each request of %d bytes and its answer, clients at a time: %d (closed loop).", smallMessage, clients),
		family:  "connection",
		x:       float64(clients),
		metrics: connectionMetrics(),
		origin:  answeringOnce(),
		run:     connections(clients),
	}
}

// manyBackends is connections to a pool of n backends.
func manyBackends(n int) scenario {
	s := connection(64)
	s.name = fmt.Sprintf("backends-%d", n)
	s.about = fmt.Sprintf("A new connection for each small request, 64 at a time, spread over %d backends (addresses of one origin).", n)
	s.family, s.x, s.size.backends = "backends", float64(n), n
	s.proxied = true
	return s
}

// manyPrefixes is connections through an access control list of n prefixes.
func manyPrefixes(n int) scenario {
	s := connection(64)
	s.name = fmt.Sprintf("prefixes-%d", n)
	s.about = fmt.Sprintf("A new connection for each small request, 64 at a time, the client's address looked up among %d prefixes.", n)
	s.family, s.x, s.size.prefixes = "prefixes", float64(n), n
	s.proxied = true
	return s
}
