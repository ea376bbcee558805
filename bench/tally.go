package main

import (
	"fmt"
	"time"

	"l4proxy/bench/traffic"
)

// slowAnswer is a delay that a client notices.
const slowAnswer = 100 * time.Millisecond

// moment is when a backend failed, by [traffic.Now].
type moment struct {
	began    int64 // just before
	complete int64 // it could not answer any more
}

// tally is the results of the clients of an outage.
type tally struct {
	fault moment
	until int64 // when the load ended

	before [failingBackends + 1]int // answered before the fault, by the backend's number

	clients        int // that connected after the fault, or could not connect
	failed         int // of those
	cutOff         int // of those that were connected before
	slow           int // of all
	slowestConnect time.Duration
	slowestAnswer  time.Duration
	lastBad        time.Duration // after the fault, if there was any
	failures       map[string]uint64
	course         course

	// Answered in the last second of the load: by all backends, and by the one
	// that had failed.
	inTheEnd, recovered int
}

// account counts the clients of a load that ended at until. It fails if a client
// failed before the fault.
//
// The proxy may have connected a client to the backend while that was ending, which
// no proxy can know. So only clients that connected after the fault was complete
// count as failed.
func account(visits []traffic.Visited, fault moment, until int64) (tally, error) {
	t := tally{fault: fault, until: until, failures: make(map[string]uint64)}
	t.course.Until = seconds(until - fault.complete)
	if len(visits) > 0 {
		t.course.From = seconds(visits[0].Began - fault.complete)
	}
	for _, v := range visits {
		if v.Began+int64(v.Took) >= fault.began {
			t.add(v)
		} else if v.Failure == "" {
			t.before[v.Backend]++
		} else {
			return t, fmt.Errorf("a client failed before any backend did: %s", v.Failure)
		}
	}
	for number, answered := range t.before[1:] {
		if answered == 0 {
			return t, fmt.Errorf("backend %d had no client before the fault", number+1)
		}
	}
	return t, nil
}

// add counts a client that was present at the fault, or came later.
func (t *tally) add(v traffic.Visited) {
	after := v.Connect == 0 || v.Began+int64(v.Connect) >= t.fault.complete
	if after {
		t.clients++
	}
	t.slowestConnect = max(t.slowestConnect, v.Connect)
	switch {
	case v.Failure != "":
		t.failures[v.Failure]++
		if after {
			t.failed++
		} else {
			t.cutOff++
		}
		t.bad(v)
		return
	case v.Took > slowAnswer:
		t.slow++
		t.bad(v)
	}
	t.slowestAnswer = max(t.slowestAnswer, v.Took)
	if v.Began >= t.until-int64(time.Second) {
		t.inTheEnd++
		if v.Backend == victim+1 {
			t.recovered++
		}
	}
}

// bad counts a client that failed or was slow by when it came.
func (t *tally) bad(v traffic.Visited) {
	came := v.Began - t.fault.complete
	t.lastBad = max(t.lastBad, time.Duration(came))
	t.course.add(seconds(came), v.Failure != "")
}

func (t *tally) figures() figures {
	f := figures{
		"clients": float64(t.clients),
		"failed":  float64(t.failed), "cut off": float64(t.cutOff), "over 100 ms": float64(t.slow),
		"slowest connect ms": milliseconds(t.slowestConnect), "slowest answer ms": milliseconds(t.slowestAnswer),
	}
	if t.lastBad > 0 {
		f["last bad s"] = t.lastBad.Seconds()
	}
	if t.inTheEnd > 0 {
		f["recovered %"] = float64(t.recovered) / float64(t.inTheEnd) * 100
	}
	return f
}

func seconds(ns int64) float64 { return time.Duration(ns).Seconds() }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
