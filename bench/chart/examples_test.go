package chart

import "math"

// The figures of the examples are invented, in the manner of real ones.

const (
	uring = "l4proxy io_uring"
	epoll = "l4proxy epoll"
)

// spreads returns points with a spread of some percent around each Y.
func spreads(percent float64, xy ...float64) []Point {
	var points []Point
	for i := 0; i < len(xy); i += 2 {
		y := xy[i+1]
		points = append(points, Point{X: xy[i], Y: y, Low: y * (1 - percent/100), High: y * (1 + percent/150)})
	}
	return points
}

// examples is one picture of each kind and of what is special in it.
var examples = map[string]Picture{
	"throughput": Lines{
		Title:    "Requests per second by concurrency",
		Subtitle: "Kept connections, 1 KiB answers, two workers each; medians of 5 rounds with minimum and maximum. More is better.",
		X:        Axis{Label: "Connections", Log: true},
		Y:        Axis{Label: "Throughput", Unit: "requests/s"},
		Series: []Series{
			{Peer: uring, Points: spreads(4, 1, 9100, 8, 40300, 64, 45100, 512, 39700, 2000, 38400, 4000, 36900)},
			{Peer: epoll, Points: spreads(5, 1, 9000, 8, 37300, 64, 41000, 512, 34900, 2000, 32900, 4000, 31100)},
			{Peer: "haproxy", Points: spreads(6, 1, 8300, 8, 31100, 64, 37800, 512, 31900, 2000, 28600, 4000, 27000)},
			{Peer: "nginx", Points: spreads(4, 1, 8700, 8, 33000, 64, 39100, 512, 32300, 2000, 29100, 4000, 27900)},
			{Peer: "tcpproxy", Points: spreads(9, 1, 7100, 8, 21000, 64, 24500, 512, 22400, 2000, 19700, 4000, 17800)},
			{Peer: "direct", Points: spreads(3, 1, 17000, 8, 68000, 64, 79000, 512, 71000, 2000, 66000, 4000, 61000)},
		},
	},
	"memory": Lines{
		Title:    "Memory by idle connections",
		Subtitle: "Growth of PSS. The tcpproxy ran out of descriptors. Less is better.",
		X:        Axis{Label: "Connections"},
		Y:        Axis{Label: "Memory", Unit: "MB", Log: true},
		Series: []Series{
			{Peer: uring, Points: spreads(10, 100, 0.021, 1000, 0.22, 4000, 0.9, 10000, 2.2)},
			{Peer: "haproxy", Points: spreads(2, 100, 0.36, 1000, 3.6, 4000, 14.4, 10000, 36)},
			{Peer: "nginx", Points: spreads(2, 100, 0.95, 1000, 9.5, 4000, 38, 10000, 95)},
			{Peer: "tcpproxy", Points: spreads(5, 100, 6.2, 1000, 62, 4000, 250)},
		},
	},
	"prefixes": Lines{
		Title:    "Accept rate by size of the access list",
		Subtitle: "Prefixes <loaded> & matched; shaded from minimum to maximum.",
		X:        Axis{Label: "Prefixes", Log: true},
		Y:        Axis{Label: "Accepted", Unit: "connections/s"},
		Band:     true,
		Series: []Series{
			{Peer: uring, Points: spreads(8, 0, 21000, 1, 20900, 3, 20900, 100, 20700, 10000, 20500, 1e6, 20100)},
			{Peer: "haproxy", Points: spreads(8, 0, 20100, 1, 20000, 3, 20000, 100, 19900, 10000, 19600, 1e6, 18800)},
			{Peer: "nginx", Points: spreads(8, 0, 19800, 1, 19700, 3, 19650, 100, 18000, 10000, 2100)},
		},
	},
	"ratios": Bars{
		Title:    "CPU a request, beside the better of HAProxy and nginx",
		Subtitle: "Ratio in the same round, median of 5 rounds with minimum and maximum. Less is better.",
		Label:    "Ratio to the better rival", Reference: 1, ReferenceLabel: "better of HAProxy and nginx = 1",
		Groups: []Group{
			{Name: "64 kept connections", Bars: []Bar{
				{Peer: uring, Value: 0.76, Low: 0.72, High: 0.82},
				{Peer: epoll, Value: 0.97, Low: 0.93, High: 1.04},
				{Peer: "tcpproxy", Value: 1.62, Low: 1.5, High: 1.8},
			}},
			{Name: "2,000 kept connections", Bars: []Bar{
				{Peer: uring, Value: 0.64, Low: 0.61, High: 0.66},
				{Peer: epoll, Value: 0.86},
				{Peer: "tcpproxy", Missing: "too noisy"},
			}},
			{Name: "A connection a request", Bars: []Bar{
				{Peer: uring, Value: 0.85, Low: 0.82, High: 0.89},
				{Peer: epoll, Value: 1.0, Low: 0.96, High: 1.12},
				{Peer: "tcpproxy", Value: 1.7, Low: 1.61, High: 1.74},
			}},
		},
	},
	"rates": Bars{
		Title: "Bulk transfer", Label: "Throughput", Unit: "bit/s",
		Groups: []Group{{Name: "1 stream", Bars: []Bar{
			{Peer: uring, Value: 12.2e9, Low: 10.6e9, High: 13.8e9},
			{Peer: "haproxy", Value: 9.4e9, Low: 8.5e9, High: 10.3e9},
			{Peer: "nginx", Missing: "–"},
			{Peer: "routed", Value: 14e9},
			{Peer: "dnat", Value: 13.7e9},
		}}},
	},
	"latency": Percentiles{
		Title:    "Latency by percentile",
		Subtitle: "20,000 requests/s at a fixed rate, measured from when a request was due.",
		Y:        Axis{Label: "Latency", Unit: "ms", Log: true},
		Series: []Series{
			{Peer: uring, Points: spreads(6, 50, 0.41, 90, 0.62, 99, 1.1, 99.9, 2.3, 99.99, 4.6, 100, 9.2)},
			{Peer: epoll, Points: spreads(6, 50, 0.43, 90, 0.68, 99, 1.3, 99.9, 2.9, 99.99, 5.7, 100, 9.9)},
			{Peer: "haproxy", Points: spreads(6, 50, 0.46, 90, 0.74, 99, 1.6, 99.9, 3.4, 99.99, 7.9, 100, 14)},
			{Peer: "nginx", Points: spreads(6, 50, 0.45, 90, 0.71, 99, 1.5, 99.9, 3.9, 99.99, 9.9, 100, 21)},
			{Peer: "tcpproxy", Points: spreads(6, 50, 0.71, 90, 1.4, 99, 4.9, 99.9, 16, 99.99, 41, 100, 88)},
		},
	},
	"failover": Timeline{
		Title:    "A backend dies after 20 s and returns after 40 s",
		Subtitle: "Redis SET and GET over 64 connections, a sample a second.",
		Panels: []Panel{
			{Y: Axis{Label: "Operations", Unit: "operations/s"}, Series: []Series{
				{Peer: uring, Points: wave(41000, 900, 3, 20, 36000)},
				{Peer: "haproxy", Points: wave(36500, 800, 4, 20, 19000)},
				{Peer: "nginx", Points: wave(37900, 700, 5, 20, 24000)},
			}},
			{Y: Axis{Label: "CPU", Unit: "%"}, Series: []Series{
				{Peer: uring, Points: wave(118, 3, 3, 20, 109)},
				{Peer: "haproxy", Points: wave(151, 4, 4, 20, 96)},
				{Peer: "nginx", Points: wave(144, 4, 5, 20, 101)},
			}},
			{Y: Axis{Label: "Memory", Unit: "MB"}, Series: []Series{
				{Peer: uring, Points: wave(24, 0.2, 7, 20, 24.4)},
				{Peer: "haproxy", Points: wave(31, 0.1, 7, 20, 33)},
				{Peer: "nginx", Points: wave(14, 0.1, 7, 20, 14.2)},
			}},
		},
	},
}

// wave returns a minute of samples around level, and around dip for 20 s after
// at, which move by height with the period.
func wave(level, height, period, at, dip float64) []Point {
	var points []Point
	for t := range 61 {
		x, y := float64(t), level
		if x > at && x < at+20 {
			y = dip
		}
		points = append(points, Point{X: x, Y: math.Round((y+height*math.Sin(2*math.Pi*x/period))*10) / 10})
	}
	return points
}
