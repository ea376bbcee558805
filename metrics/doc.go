// Package metrics shows what the proxy has counted in the formats of Prometheus.
//
// The proxy counts by itself, in plain integers; see package proxy. When a client asks, a [Source]
// sums up what was counted, and a [Gatherer] makes metric families of it. It makes them directly,
// and not through a registry, which would check and sort each of 10,000 backends' metrics again
// with each scrape: the names are fixed (list.go), and tests check the rest.
package metrics
