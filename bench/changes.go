package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"l4proxy/bench/traffic"
)

// changes is what clients and the machine notice while a proxy is changed again and
// again.
type changes struct {
	quiet time.Duration // from the load until the first change
	times int
	every time.Duration
	hold  time.Duration // from the last change on
	flows int           // long connections; half of them are newcomers
	pace  time.Duration // between two messages of a flow
	rate  float64       // new clients per second

	patience time.Duration // of a client, and of a flow
}

const (
	// changeFlows is long connections, each with a message every flowPace.
	changeFlows = 400
	flowPace    = 250 * time.Millisecond
	holdTime    = 10 * time.Second
	// censusPace is how often the processes are counted.
	censusPace = 250 * time.Millisecond
)

func reloads() scenario {
	return changesScenario("reload", "Twenty reloads in ten seconds",
		"The configuration is changed and reloaded %d times, once every %v: each names other backends for new clients.",
		changes{times: 20, every: 500 * time.Millisecond}, size{more: 1, change: reload})
}

func upgrades() scenario {
	return changesScenario("upgrade", "Five upgrades in ten seconds",
		"The binary is replaced %d times, once every %v. Each new process reads a configuration that names other backends for new clients.",
		changes{times: 5, every: 2 * time.Second}, size{more: 1, change: upgrade})
}

func changesScenario(name, title, about string, c changes, n size) scenario {
	c.quiet, c.hold, c.rate, c.patience = quietTime, holdTime, outageRate, patience
	c.flows, c.pace = changeFlows, flowPace
	return scenario{
		name:  name,
		title: title,
		about: fmt.Sprintf(about+" Meanwhile %d new clients per second (open loop), each with one connection and one request of %d bytes, "+
			"and %d long flows with a message every %v: half of them are open before the first change, the others open during the changes. "+
			"A client waits %v for its answer. Failed: new clients. Lost: flows that ended, or waited too long. "+
			"Stalls: the longest wait for an answer of each flow. "+
			"In effect: changes after which new clients were served by the new backends until the next change. "+
			"Old backends: how long after a change the last client met the old ones, median. "+
			"Old processes: more than before the changes, %v after the last one. Memory is the sum of all processes (PSS).",
			c.times, c.every, outageRate, smallMessage, c.flows, c.pace, patience, c.hold),
		metrics: changesMetrics(),
		proxied: true,
		size:    n,
		atLeast: c.quiet + c.span() + c.hold,
		origin: func(b bench) (*process, error) {
			return b.startOrigin(numbered(1))
		},
		run: c.run,
	}
}

// numbered is an origin for new clients.
func numbered(number int) traffic.OriginSpec {
	return traffic.OriginSpec{
		Work: traffic.Backend, Number: number, RequestBytes: smallMessage, ResponseBytes: smallMessage, Verify: true,
	}
}

func changesMetrics() []metric {
	var all []metric
	for _, m := range []metric{
		{name: "failed"},
		{name: "flows lost"},
		{name: "slowest answer ms", digits: 1},
		{name: "stall p50 ms", digits: 1},
		{name: "stall p99 ms", digits: 1},
		{name: "stall max ms", digits: 1},
		{name: "in effect"},
		{name: "old backends ms"},
		{name: "old processes"},
		{name: "MB before"},
		{name: "MB peak"},
		{name: "MB after"},
		{name: "CPU s", digits: 2},
		{name: "generator late max ms", digits: 1},
	} {
		// As for outages: there is no ratio to zero, and a difference between rounds
		// is a finding.
		m.uncompared, m.noisy = true, true
		all = append(all, m)
	}
	return all
}

// span is the time from the first change until one interval after the last.
func (c changes) span() time.Duration { return time.Duration(c.times) * c.every }

func (c changes) run(ctx context.Context, b bench) (m measured, err error) {
	for _, origin := range []struct {
		name string
		port int
		spec traffic.OriginSpec
	}{
		{"other", b.otherPort, numbered(2)},
		{"flows", b.more[0].backend, traffic.OriginSpec{
			Work: traffic.Request, RequestBytes: smallMessage, ResponseBytes: smallMessage, Verify: true,
		}},
	} {
		dir := filepath.Join(b.dir, origin.name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return m, err
		}
		p, err := b.startOriginOn(everywhere(origin.port), dir, origin.spec)
		if err != nil {
			return m, err
		}
		defer p.stop()
		if err := p.awaitListening(ctx, origin.port); err != nil {
			return m, err
		}
	}
	flows, visits, err := c.startLoad(ctx, b)
	if err != nil {
		return m, err
	}
	r, err := c.happen(ctx, b.changing)
	if err != nil {
		stopAll([]*client{flows, visits})
		return m, err
	}
	// Both end by themselves, the flows last.
	outcome, err := visits.outcome()
	if err != nil {
		flows.stop()
		return m, err
	}
	long, err := flows.outcome()
	if err != nil {
		return m, err
	}
	r.visits, r.flows = outcome.Visits, long.Flows
	f, failures, err := r.figures()
	if err != nil {
		return m, err
	}
	f["generator late max ms"] = max(outcome.Late.Max, long.Late.Max)
	return measured{figures: f, failures: failures, timeline: r.timeline()}, nil
}

// startLoad starts the long flows, and then new clients.
func (c changes) startLoad(ctx context.Context, b bench) (flows, visits *client, err error) {
	flows, err = b.startClient(ctx, traffic.ClientSpec{
		Work: traffic.Flow, Target: []string{b.targetOf(b.more[0])},
		Connections: c.flows, Newcomers: c.flows / 2, NewcomersOver: c.quiet + c.span(),
		Rate: float64(c.flows) / c.pace.Seconds(), Timeout: c.patience,
		RequestBytes: smallMessage, ResponseBytes: smallMessage, Verify: true,
		Duration: b.duration + 2*warmUp,
	})
	if err != nil {
		return nil, nil, err
	}
	visits, err = b.startClient(ctx, traffic.ClientSpec{
		Work: traffic.Visit, Rate: c.rate, Timeout: c.patience, Backends: 2,
		Connections:  int(c.rate * (c.patience + time.Second).Seconds()),
		RequestBytes: smallMessage, ResponseBytes: smallMessage, Verify: true,
	})
	if err != nil {
		flows.stop()
		return nil, nil, err
	}
	return flows, visits, nil
}

// happen makes the changes, and counts the processes meanwhile.
func (c changes) happen(ctx context.Context, p *changing) (r changed, err error) {
	if p == nil {
		return r, errors.New("the peer cannot be changed")
	}
	if err := pause(ctx, c.quiet/2); err != nil {
		return r, err
	}
	if r.before, err = p.count(); err != nil {
		return r, err
	}
	from := p.cpuSeconds()
	if err := pause(ctx, c.quiet/2); err != nil {
		return r, err
	}
	next := time.Now()
	end := next.Add(c.span() - c.every + c.hold)
	for time.Now().Before(end) {
		if len(r.at) < c.times && !time.Now().Before(next) {
			next = next.Add(c.every)
			at := traffic.Now()
			number, err := p.next(ctx)
			if err != nil {
				return r, err
			}
			r.at = append(r.at, applied{at, number})
		}
		census, err := p.count()
		if err != nil {
			return r, err
		}
		r.course = append(r.course, census)
		wait := min(time.Until(end), censusPace)
		if len(r.at) < c.times {
			wait = min(wait, time.Until(next))
		}
		if err := pause(ctx, wait); err != nil {
			return r, err
		}
	}
	if r.after, err = p.count(); err != nil {
		return r, err
	}
	r.cpu = p.cpuSeconds() - from
	return r, nil
}
