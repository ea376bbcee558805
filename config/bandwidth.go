package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Rates are limits of bandwidth in bytes per second, of one direction each; 0 is no limit.
type Rates struct {
	In  int64 // client to backend
	Out int64 // backend to client
}

// Bandwidth are the limits of bandwidth of a listener.
type Bandwidth struct {
	Rates // of each connection
	// Total are those of all connections together; nil is no limit.
	Total *Rates
}

const (
	minBandwidth = 1000            // bytes per second
	maxBandwidth = 100_000_000_000 // bytes per second
)

func (r *Rates) fields() fields {
	return fields{
		{"in", byteRate(&r.In), "From clients to backends. If omitted, there is no limit."},
		{"out", byteRate(&r.Out), "From backends to clients. If omitted, there is no limit."},
	}
}

func (b *Bandwidth) fields() fields {
	return fields{
		{"in", byteRate(&b.In), "The limit of each connection from the client to the backend: `10MB/s`, `512KiB/s` or `100Mbit/s`, 1kB/s to 100GB/s. If omitted, there is no limit."},
		{"out", byteRate(&b.Out), "The same from the backend to the client."},
		{"total", optional(&b.Total), "Limits of all connections of the listener together: `{in: 1GB/s, out: 1GB/s}`, either of them or both. Connections that always have more to send get equal shares."},
	}
}

// bandwidthUnits are the units of a bandwidth, in bytes, as a file has them. Those of bits come
// last: they are read, and never written.
var bandwidthUnits = []struct {
	name  string
	bytes float64
}{
	{"GB", 1e9}, {"GiB", 1 << 30}, {"MB", 1e6}, {"MiB", 1 << 20}, {"kB", 1e3}, {"KiB", 1 << 10}, {"B", 1},
	{"Gbit", 1e9 / 8}, {"Mbit", 1e6 / 8}, {"kbit", 1e3 / 8},
}

var byteRatePattern = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)(/s)?$`)

// byteRate is how many bytes per second "10MB/s", "512KiB/s" or "100Mbit/s" are.
func byteRate(dst *int64) scalar[int64] {
	return scalar[int64]{
		dst: dst, as: asString | asNumber, what: `a bandwidth such as "10MB/s" or "100Mbit/s"`,
		typ:   textLike(`^[0-9]+(\.[0-9]+)? ?([kMG]B|[KMG]iB|B|[kMG]bit)/s$`),
		show:  ByteRate,
		parse: parseByteRate,
		bounds: func(v int64) *Fault {
			switch {
			case v == 0:
				return faultf("remove it, for no limit", "this limit cannot be 0")
			case v < minBandwidth:
				return faultf(`write "1kB/s" or more`, "less than 1kB/s: %s", ByteRate(v))
			case v > maxBandwidth:
				return faultf(`write "100GB/s" or less, or remove it`, "more than 100GB/s: %s", ByteRate(v))
			}
			return nil
		},
	}
}

func parseByteRate(text string) (int64, *Fault) {
	m := byteRatePattern.FindStringSubmatch(text)
	if m == nil {
		return 0, unreadable(`write a number and a unit, such as "10MB/s"`)
	}
	number, unit, perSecond := m[1], m[2], m[3] != ""
	for _, u := range bandwidthUnits {
		if u.name != unit {
			continue
		}
		if !perSecond {
			return 0, unreadable("write " + quote(number+unit+"/s"))
		}
		v, err := strconv.ParseFloat(number, 64)
		if err != nil || v*u.bytes > math.MaxInt64/2 {
			return math.MaxInt64 / 2, nil // the bounds refuse it
		}
		return int64(math.Round(v * u.bytes)), nil
	}
	return 0, unclearUnit(number, unit)
}

// unclearUnit says what a unit may mean that is not one of bandwidthUnits.
func unclearUnit(number, unit string) *Fault {
	prefix := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(unit), "ps"), "it"), "s")
	prefix = strings.TrimSuffix(strings.TrimSuffix(prefix, "b"), "i")
	letter, known := map[string]string{"": "", "k": "k", "m": "M", "g": "G"}[prefix]
	switch {
	case !known:
		return unreadable("write the unit as kB/s, MB/s, GB/s, KiB/s, MiB/s, GiB/s, kbit/s, Mbit/s or Gbit/s")
	case letter == "":
		return unreadable(fmt.Sprintf(`write "%sMB/s" for megabytes, "%sB/s" for bytes`, number, number))
	}
	return unreadable(fmt.Sprintf(`write "%s%sB/s" for bytes, or "%s%sbit/s" for bits`, number, letter, number, letter))
}

// ByteRate writes a number of bytes per second as a file has it, in the largest unit that makes it
// a whole number.
func ByteRate(v int64) string {
	for _, u := range bandwidthUnits {
		if n := v / int64(u.bytes); n > 0 && v%int64(u.bytes) == 0 {
			return fmt.Sprintf("%d%s/s", n, u.name)
		}
	}
	return "0B/s"
}

// bandwidth checks the limits of bandwidth of a listener against each other.
func (c *checker) bandwidth(l *Listener, at *path) {
	var each, client, total Rates
	in := at.child("bandwidth")
	if b := l.Bandwidth; b != nil {
		each = b.Rates
		if b.Total != nil {
			total = *b.Total
			c.limitsNothing(b.Total, in.child("total"), "bandwidth.total")
		} else if c.clear(in, "total") {
			c.limitsNothing(&each, in, "bandwidth")
		}
	}
	ofClient := at.child("per_client").child("bandwidth")
	if p := l.PerClient; p != nil && p.Bandwidth != nil {
		client = *p.Bandwidth
		c.limitsNothing(p.Bandwidth, ofClient, "per_client.bandwidth")
	}
	if !c.clear(at, "bandwidth", "per_client") {
		return
	}
	for _, key := range []string{"in", "out"} {
		of := func(r Rates) int64 {
			if key == "in" {
				return r.In
			}
			return r.Out
		}
		below := func(rate int64, what *path, name string, wider int64, widerName string) {
			c.refuse(rate > 0 && wider > 0 && rate > wider && c.clear(what, key), what.child(key), "write less than that, or remove it",
				"%s.%s can never be reached: %s.%s is %s", name, key, widerName, key, ByteRate(wider))
		}
		below(of(each), in, "bandwidth", of(client), "per_client.bandwidth")
		below(of(each), in, "bandwidth", of(total), "bandwidth.total")
		below(of(client), ofClient, "per_client.bandwidth", of(total), "bandwidth.total")
	}
}

func (c *checker) limitsNothing(r *Rates, at *path, name string) {
	c.refuse(*r == Rates{} && c.clear(at, "in", "out"), at, "write {in: 10MB/s, out: 10MB/s}, or remove it", "%s limits nothing", name)
}
