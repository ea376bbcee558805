package main

import (
	"context"
	"errors"
	"fmt"

	"l4proxy/bench/observe"
	"l4proxy/bench/traffic"
)

// observedRequests is a scenario in which l4proxy is compared with itself: alone, and
// observed as a monitoring system and an open dashboard do it.
func observedRequests(connections int) scenario {
	s := request(connections)
	s.name = fmt.Sprintf("observed-%d", connections)
	s.about = fmt.Sprintf("What it costs to observe l4proxy: requests of %d bytes, answers of the same size, persistent connections: %d (closed loop). "+
		"Observed: /metrics is scraped once every %v, and a dashboard reads the event stream with live figures, and the status and the connections once every %v. "+
		"The observer is a process of its own, so its CPU time is in the machine's only.", smallMessage, connections, observe.ScrapePace, observe.PagePace)
	s.family, s.proxied, s.peers = "", true, besideItself
	s.metrics = append(s.metrics,
		metric{name: "scrapes", uncompared: true, noisy: true},
		metric{name: "scrape max ms", digits: 1, uncompared: true, noisy: true},
		metric{name: "scrape KB", digits: 1, uncompared: true})
	// A scrape and a message of the stream are due every second.
	s.atLeast = 5 * observe.ScrapePace
	s.run = func(ctx context.Context, b bench) (measured, error) {
		return b.observedLoad(ctx, traffic.ClientSpec{
			Work: traffic.Request, Connections: connections, RequestBytes: smallMessage, ResponseBytes: smallMessage,
		})
	}
	return s
}

// besideItself returns each of our peers twice: without an admin address, and with one
// that is observed. The second is compared with the first.
func besideItself(all []peer) []peer {
	var twice []peer
	for _, p := range all {
		if p.role != ours {
			continue
		}
		observed := p
		observed.name, observed.beside, observed.observed = p.name+", observed", p.name, true
		twice = append(twice, p, observed)
	}
	return twice
}

// observedLoad is like load. If the peer is observed, the observer is there before the
// load, and leaves after it.
func (b bench) observedLoad(ctx context.Context, spec traffic.ClientSpec) (measured, error) {
	if b.setup.Admin == "" {
		return b.load(ctx, "request", spec)
	}
	o, err := b.startObserver(ctx)
	if err != nil {
		return measured{}, err
	}
	m, err := b.load(ctx, "request", spec)
	seen, fault := o.stop()
	if err = errors.Join(err, fault); err != nil {
		return measured{}, err
	}
	if err := seen.Enough(b.duration); err != nil {
		return measured{}, err
	}
	m.figures["scrapes"] = float64(seen.Scrapes)
	m.figures["scrape max ms"] = seen.SlowestMS
	m.figures["scrape KB"] = float64(seen.ScrapedBytes) / 1000 / float64(seen.Scrapes)
	return m, nil
}
