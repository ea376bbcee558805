package main

import (
	"context"
	"fmt"
	"time"

	"l4proxy/bench/traffic"
)

// outage is what clients notice of a backend that fails and comes back. Each
// client is told of on its own: a percentile does not show the few who fail.
type outage struct {
	// begin makes a backend fail and returns when it has; end brings it back.
	begin, end func(*member, context.Context) error

	settle   time.Duration // from the start of the proxy until there is load, at least
	interval time.Duration // of the peers' health checks
	quiet    time.Duration // from the load until the fault
	lasts    time.Duration // from there until the end of it
	rate     float64       // clients a second
	patience time.Duration // of a client
}

const (
	// outageRate is far below what any peer can do: nobody fails of the load.
	outageRate = 1000
	quietTime  = time.Second
	patience   = 5 * time.Second
	// recoveryTime is how long the load goes on when the backend is back.
	recoveryTime = 4 * time.Second
	// checkInterval is what the templates say.
	checkInterval = 2 * time.Second
	// victim is the index of the backend that fails.
	victim = 1
)

func outageKill() scenario {
	return outageScenario("outage-kill", "What clients notice when one backend of three is killed",
		"What happens when a backend dies: one of three is killed (SIGKILL), so that connections to it are refused, and started again %v later.",
		outage{begin: (*member).kill, end: (*member).restart, lasts: 5 * time.Second})
}

// outageStop lasts longer: it takes three checks to notice it. It lasts for no
// longer than the queue of connections that nobody accepts (listen(2)) has room
// for a third of them: a full one would be as good as a failed connect.
func outageStop() scenario {
	return outageScenario("outage-stop", "What clients notice when one backend of three stops answering",
		"What happens when a backend hangs: one of three is stopped (SIGSTOP), so that the kernel accepts connections to it "+
			"and nobody answers, and goes on (SIGCONT) %v later.",
		outage{begin: (*member).suspend, end: (*member).resume, lasts: 12 * time.Second})
}

func outageScenario(name, title, about string, o outage) scenario {
	o.settle, o.interval, o.quiet, o.rate, o.patience = settleTime, checkInterval, quietTime, outageRate, patience
	return scenario{
		name:  name,
		title: title,
		about: fmt.Sprintf(about+" Clients come at %d a second all the time (open loop), each with a connection of its own, "+
			"a request of %d bytes and the patience of %v for the whole answer. "+
			"Failed are those that connected after the fault, or could not; cut off are those that were connected before. "+
			"Last bad is when, after the fault, the last client came that failed or waited for more than %v. "+
			"Recovered is the share of clients that the backend has in the last second, a third if it takes part as before.",
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
		// rounds is a finding and not noise.
		m.uncompared, m.noisy = true, true
		all = append(all, m)
	}
	return all
}

func (o outage) run(ctx context.Context, b bench) (measured, error) {
	// So that in each round the fault comes at another time between two checks.
	if err := pause(ctx, o.settle+time.Duration(b.progress*float64(o.interval))); err != nil {
		return measured{}, err
	}
	c, err := b.startClient(ctx, traffic.ClientSpec{
		Work: traffic.Visit, Rate: o.rate, Timeout: o.patience, Backends: failingBackends,
		// Everybody could be waiting at once.
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

// happen makes m fail when the quiet time is over, and brings it back.
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
