package main

import (
	"context"
	"fmt"
	"time"

	"l4proxy/bench/traffic"
)

// outage is what clients notice of a backend that fails and comes back. Every
// client is recorded: a percentile does not show the few that fail.
type outage struct {
	// begin makes a backend fail and returns when it has; end brings it back.
	begin, end func(*member, context.Context) error

	settle   time.Duration // from the start of the proxy until there is load, at least
	interval time.Duration // of the peers' health checks
	quiet    time.Duration // from the load until the fault
	lasts    time.Duration // from the fault until its end
	rate     float64       // clients per second
	patience time.Duration // of a client
}

const (
	// outageRate is far below what any peer can do: no client fails because of
	// the load.
	outageRate = 1000
	quietTime  = time.Second
	patience   = 5 * time.Second
	// recoveryTime is how long the load continues after the backend is back.
	recoveryTime = 4 * time.Second
	// checkInterval is that of the templates.
	checkInterval = 2 * time.Second
	// victim is the index of the backend that fails.
	victim = 1
)

func outageKill() scenario {
	return outageScenario("outage-kill", "What clients notice when one backend of three is killed",
		"A backend dies: one of three is killed (SIGKILL), so that connections to it are refused, and started again %v later.",
		outage{begin: (*member).kill, end: (*member).restart, lasts: 5 * time.Second})
}

// outageStop lasts longer, because three checks have to fail. It ends before the
// accept queue of the stopped backend (listen(2)) is full: the kernel would then
// refuse connections, as after outageKill.
func outageStop() scenario {
	return outageScenario("outage-stop", "What clients notice when one backend of three stops answering",
		"A backend hangs: one of three is stopped (SIGSTOP), so that the kernel accepts connections to it "+
			"but no answer comes, and resumes (SIGCONT) %v later.",
		outage{begin: (*member).suspend, end: (*member).resume, lasts: 12 * time.Second})
}

func outageScenario(name, title, about string, o outage) scenario {
	o.settle, o.interval, o.quiet, o.rate, o.patience = settleTime, checkInterval, quietTime, outageRate, patience
	return scenario{
		name:  name,
		title: title,
		about: fmt.Sprintf(about+" %d new clients per second (open loop), each with one connection, "+
			"one request of %d bytes, and a patience of %v for the whole answer. "+
			"Failed: clients that connected after the fault, or could not connect. Cut off: clients that were connected before. "+
			"Last bad: when the last client came that failed or waited for more than %v, in seconds after the fault. "+
			"Recovered: the backend's share of the clients of the last second, a third if it takes part as before.",
			o.lasts, outageRate, smallMessage, patience, slowAnswer),
		metrics: outageMetrics(),
		proxied: true,
		size:    size{failing: true},
		atLeast: o.quiet + o.lasts + recoveryTime,
		run:     o.run,
	}
}

func outageMetrics() []metric {
	var all []metric
	for _, m := range []metric{
		{name: "failed"},
		{name: "cut off"},
		{name: "over 100 ms"},
		{name: "slowest connect ms", digits: 1},
		{name: "slowest answer ms", digits: 1},
		{name: "last bad s", digits: 1},
		{name: "recovered %"},
		{name: "generator late max ms", digits: 1},
	} {
		// There is no ratio to zero failures, and a count that differs between
		// rounds is a finding, not noise.
		m.uncompared, m.noisy = true, true
		all = append(all, m)
	}
	return all
}

func (o outage) run(ctx context.Context, b bench) (measured, error) {
	// In each round the fault comes at another time between two checks.
	if err := pause(ctx, o.settle+time.Duration(b.progress*float64(o.interval))); err != nil {
		return measured{}, err
	}
	c, err := b.startClient(ctx, traffic.ClientSpec{
		Work: traffic.Visit, Rate: o.rate, Timeout: o.patience, Backends: failingBackends,
		// All clients could be waiting at once.
		Connections:  int(o.rate * (o.patience + time.Second).Seconds()),
		RequestBytes: smallMessage, ResponseBytes: smallMessage, Verify: true,
	})
	if err != nil {
		return measured{}, err
	}
	at, err := o.happen(ctx, b.failing[victim])
	if err != nil {
		c.stop()
		return measured{}, err
	}
	result, err := c.outcome()
	if err != nil {
		return measured{}, err
	}
	tally, err := account(result.Visits, at, result.Began+int64(b.duration))
	if err != nil {
		return measured{}, err
	}
	f := tally.figures()
	f["generator late max ms"] = result.Late.Max
	return measured{figures: f, failures: tally.failures, course: &tally.course}, nil
}

// happen makes m fail after the quiet time, and later brings it back.
func (o outage) happen(ctx context.Context, m *member) (at moment, err error) {
	if err := pause(ctx, o.quiet); err != nil {
		return at, err
	}
	at.began = traffic.Now()
	if err := o.begin(m, ctx); err != nil {
		return at, fmt.Errorf("making a backend fail: %w", err)
	}
	at.complete = traffic.Now()
	if err := pause(ctx, o.lasts); err != nil {
		return at, err
	}
	if err := o.end(m, ctx); err != nil {
		return at, fmt.Errorf("bringing a backend back: %w", err)
	}
	return at, nil
}
