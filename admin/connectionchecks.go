package admin

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultLimit is the number of connections of a page whose query has no limit, MaxLimit the
	// most of any page.
	DefaultLimit = 100
	MaxLimit     = 1000
)

// Sorts are the orders of ConnectionQuery.Sort, the default first.
var Sorts = []string{"age", "idle", "bytes", "rate"}

// check reports what is wrong with it.
func (f *ConnectionFilter) check() error {
	switch {
	case f.OlderThan < 0:
		return Invalid("older_than is negative", `write a duration such as "10m"`)
	case f.Idle < 0:
		return Invalid("idle is negative", `write a duration such as "10m"`)
	}
	return nil
}

// Selects reports whether the filter leaves any connection out.
func (f *ConnectionFilter) Selects() bool { return *f != ConnectionFilter{} }

// check reports what is wrong with it, and sets what is missing.
func (q *ConnectionQuery) check() error {
	if err := q.ConnectionFilter.check(); err != nil {
		return err
	}
	if q.Sort == "" {
		q.Sort = Sorts[0]
	}
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	switch {
	case !slices.Contains(Sorts, q.Sort):
		return Invalid("unknown order "+strconv.Quote(shorten(q.Sort)), "write sort="+strings.Join(Sorts, ", "))
	case q.Limit < 0 || q.Limit > MaxLimit:
		return Invalid(fmt.Sprintf("the limit %d is not from 1 to %d", q.Limit, MaxLimit), "for more connections, ask for the next page: after is next of the page before")
	}
	return nil
}

// check reports what is wrong with it.
func (r *KillRequest) check() error {
	if err := r.ConnectionFilter.check(); err != nil {
		return err
	}
	if !r.Selects() && r.ID == "" && !r.All {
		return Invalid("nothing selects the connections to end",
			"write a filter (listener, pool, backend, from, older_than, idle), an id, or all=true for all connections")
	}
	_, err := ParseRate(r.Rate)
	return err
}

// rateUnits are the units of a rate, in seconds.
var rateUnits = map[string]float64{"s": 1, "m": 60, "h": 3600}

// ParseRate reads a rate such as "50/s", and returns how many per second it is. "" is 0: no rate.
func ParseRate(text string) (perSecond float64, err error) {
	if text == "" {
		return 0, nil
	}
	number, unit, _ := strings.Cut(text, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	seconds := rateUnits[unit]
	if err != nil || n == 0 || seconds == 0 {
		return 0, Invalid(strconv.Quote(shorten(text))+" is not a rate", `write a number per second, minute or hour, such as "50/s", "30/m" or "100/h"`)
	}
	return float64(n) / seconds, nil
}

// Seconds returns a duration as the API writes it.
func Seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e6 }
