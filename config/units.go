package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// percent is a share such as "50%".
func percent(dst *int, low, high int) scalar[int] {
	v := integer(dst, low, high)
	v.as = asNumber | asString
	v.show = func(n int) string { return strconv.Itoa(n) + "%" }
	v.describe = func() string { return fmt.Sprintf(`a percentage from "%d%%" to "%d%%"`, low, high) }
	v.typ = textLike(`^[0-9]+%$`)
	number := func(digits string) (int, *Fault) {
		n, err := strconv.Atoi(digits)
		if err != nil || strconv.Itoa(n) != digits {
			return 0, unreadable("write a whole number with %")
		}
		return n, nil
	}
	v.parse = func(text string) (int, *Fault) {
		digits, isPercent := strings.CutSuffix(text, "%")
		if !isPercent {
			return 0, unreadable(withUnit(text, "%", "write a whole number with %"))
		}
		return number(digits)
	}
	v.bounds = func(n int) *Fault {
		if n < low || n > high {
			return unreadable("").about(v.describe(), quote(strconv.Itoa(n)+"%"))
		}
		return nil
	}
	return v
}

// withUnit proposes the unit that a plain number most likely misses, else another fix.
func withUnit(text, unit, otherwise string) string {
	if _, err := strconv.ParseUint(text, 10, 31); err != nil {
		return otherwise
	}
	return "write " + quote(text+unit)
}

const maxDuration = 876_000 * time.Hour // 100 years: added to a clock, it must not overflow

// durationValue is a time such as "30s".
type durationValue struct{ scalar[time.Duration] }

func duration(dst *time.Duration) durationValue {
	return durationValue{scalar[time.Duration]{
		dst: dst, as: asString | asNumber, what: `a duration such as "30s"`,
		typ: func() schema {
			return anyOf(textLike(`^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$|^0$`)(), schema{"const": 0})
		},
		parse: func(text string) (time.Duration, *Fault) {
			v, err := time.ParseDuration(text)
			if err != nil {
				return 0, unreadable(withUnit(text, "s", "write a number with ms, s, m or h"))
			}
			return v, nil
		},
		show: showDuration,
		bounds: func(v time.Duration) *Fault {
			switch {
			case v < 0:
				return faultf("write a positive one", "a duration cannot be negative: %v", v)
			case v > maxDuration:
				return faultf(`write at most "876000h"`, "longer than 100 years: %v", v)
			case v > 0 && v < time.Millisecond:
				return faultf(`write "1ms" or more`, "shorter than 1ms: %v", v)
			}
			return nil
		},
	}}
}

// showDuration writes 1h, not 1h0m0s.
func showDuration(v time.Duration) string {
	text := v.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func (v durationValue) def(text string) durationValue {
	v.scalar = v.scalar.def(text)
	return v
}

// positive refuses 0.
func (v durationValue) positive() durationValue { return v.min(time.Millisecond) }

func (v durationValue) min(low time.Duration) durationValue {
	bounds := v.bounds
	v.bounds = func(value time.Duration) *Fault {
		switch {
		case value == 0:
			return faultf(`write one such as "3s"`, "this duration cannot be 0")
		case value > 0 && value < low:
			return faultf(fmt.Sprintf("write \"%v\" or more", low), "shorter than %v: %v", low, value)
		}
		return bounds(value)
	}
	return v
}

// halfClose is a duration, or off.
type halfClose struct {
	durationValue
	off *bool
}

func (v halfClose) reset() {
	v.durationValue.reset()
	*v.off = false
}

func (v halfClose) decode(d *decoder, n *node, p *path) {
	text, _, ok := d.scalar(n, p)
	if !ok {
		return
	}
	if *v.off = n.kind == kindString && text == "off"; *v.off {
		return
	}
	v.what = "a duration or off"
	v.parse = func(text string) (time.Duration, *Fault) {
		v, err := time.ParseDuration(text)
		if err != nil {
			return 0, unreadable(`write "off" to end a connection with its first FIN, 0 for no limit, or a number with ms, s, m or h`)
		}
		return v, nil
	}
	v.durationValue.decode(d, n, p)
}

func (v halfClose) schema() schema { return anyOf(schema{"const": "off"}, v.durationValue.schema()) }

const maxRate = 1_000_000 // per second

// rateUnits are the units of a rate, in seconds.
var rateUnits = map[string]float64{"s": 1, "m": 60, "h": 3600}

// Rate writes a rate per second as a file has it.
func Rate(perSecond float64) string { return showRate(perSecond) }

// showRate writes a rate with the unit that makes it a whole number.
func showRate(perSecond float64) string {
	for _, unit := range []string{"s", "m", "h"} {
		if n := perSecond * rateUnits[unit]; n >= 1 && math.Abs(n-math.Round(n)) < 1e-6 {
			return fmt.Sprintf("%.0f/%s", n, unit)
		}
	}
	return fmt.Sprintf("%g/s", perSecond)
}

// rate is how many per second "10/s", "30/m" or "2/h" are.
func rate(dst *float64) scalar[float64] {
	return scalar[float64]{
		dst: dst, as: asString | asNumber, what: `a rate such as "10/s", "30/m" or "2/h"`,
		typ:  textLike(`^[1-9][0-9]*/[smh]$`),
		show: showRate,
		parse: func(text string) (float64, *Fault) {
			number, unit, _ := strings.Cut(text, "/")
			v, err := strconv.Atoi(number)
			per := rateUnits[unit]
			if err != nil || strconv.Itoa(v) != number || per == 0 || v < 0 {
				return 0, unreadable(withUnit(text, "/s", "write a whole number and /s, /m or /h"))
			}
			return float64(v) / per, nil
		},
		bounds: func(v float64) *Fault {
			switch {
			case !(v > 0): // NaN, too
				return faultf(`write a slower one, such as "1/h", or remove it`, "this rate cannot be 0")
			case v > maxRate:
				return faultf(fmt.Sprintf("write at most \"%d/s\"", maxRate), "a rate of more than %d per second", maxRate)
			}
			return nil
		},
	}
}
