package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// percent sets dst to a share such as "50%", from low to high.
func (d *decoder) percent(n *node, low, high int, dst *int) bool {
	if n == nil {
		return true
	}
	what := fmt.Sprintf(`a percentage from "%d%%" to "%d%%"`, low, high)
	if n.kind != kindNumber && n.kind != kindString {
		d.expected(n, what, "")
		return false
	}
	text, _, ok := d.scalar(n)
	if !ok {
		return false
	}
	digits, isPercent := strings.CutSuffix(text, "%")
	v, err := strconv.Atoi(digits)
	if !isPercent || err != nil || strconv.Itoa(v) != digits || v < low || v > high {
		d.faultf(n, percentFix(text, low, high), "expected %s, got %s", what, got(n, text))
		return false
	}
	*dst = v
	return true
}

// percentFix proposes what was meant by a number without its sign, with a
// space, or by a share of 1; nothing when that is out of range as well.
func percentFix(text string, low, high int) string {
	digits, isPercent := strings.CutSuffix(strings.TrimSpace(text), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if err != nil {
		return ""
	}
	if !isPercent && 0 < v && v <= 1 && strings.Contains(digits, ".") {
		v *= 100
	}
	v = math.Round(v)
	if v < float64(low) || v > float64(high) {
		return ""
	}
	return fmt.Sprintf("write \"%d%%\"", int(v))
}

// rateUnits are the units of a rate, in seconds.
var rateUnits = map[string]float64{"s": 1, "m": 60, "h": 3600}

// rate sets dst to how many a second "10/s", "30/m" or "2/h" are.
func (d *decoder) rate(n *node, dst *float64) bool {
	if n == nil {
		return true
	}
	const what = `a rate such as "10/s", "30/m" or "2/h"`
	if n.kind != kindNumber && n.kind != kindString {
		d.expected(n, what, "")
		return false
	}
	text, _, ok := d.scalar(n)
	if !ok {
		return false
	}
	number, unit, _ := strings.Cut(text, "/")
	v, err := strconv.Atoi(number)
	per := rateUnits[unit]
	switch {
	case err != nil || strconv.Itoa(v) != number || per == 0 || v < 0:
		d.faultf(n, rateFix(text), "expected %s, got %s", what, got(n, text))
		return false
	case v == 0:
		d.faultf(n, `write a slower one, such as "1/h", or remove it`, "this rate cannot be 0")
		return false
	case v > maxRate:
		d.faultf(n, fmt.Sprintf("write at most \"%d/%s\"", maxRate, unit), "faster than anything: %s", got(n, text))
		return false
	}
	*dst = float64(v) / per
	return true
}

// rateFix proposes what was meant by a rate without a unit, with a longer name
// for it, with spaces, or with a fraction.
func rateFix(text string) string {
	const none = "write a whole number and /s, /m or /h"
	number, unit, _ := strings.Cut(strings.ToLower(strings.ReplaceAll(text, " ", "")), "/")
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || v <= 0 || v > maxRate {
		return none
	}
	if unit == "" {
		unit = "s"
	}
	for _, u := range []string{"s", "m", "h"} {
		if !strings.HasPrefix(unit, u) {
			continue
		}
		for _, slower := range []string{"s", "m", "h"} {
			w := v * rateUnits[slower] / rateUnits[u]
			if rateUnits[slower] >= rateUnits[u] && w == math.Trunc(w) && w <= maxRate {
				return fmt.Sprintf("write \"%d/%s\"", int(w), slower)
			}
		}
	}
	return none
}
