package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// got shows a scalar's value after its variables have been expanded.
func got(n *node, text string) string {
	if n.kind == kindString {
		return quote(text)
	}
	return shorten(text)
}

// The functions below set dst to the value of n, and leave it alone when n is
// nil, a key that was left out. They report whether dst now holds what is
// meant, so that no check across keys complains about a default.

// enum sets dst to one of the choices of c.
func (d *decoder) enum(n *node, c *choice, dst *string) bool {
	if n == nil {
		return true
	}
	text, ok := d.str(n, oneOf(c.values))
	if !ok {
		return false
	}
	if f := c.check(text); f != nil {
		d.fault(n, f)
		return false
	}
	*dst = text
	return true
}

// integer sets dst to a whole number from low to high; with auto, the word
// "auto" is allowed too and sets 0.
func (d *decoder) integer(n *node, low, high int, auto bool, dst *int) bool {
	if n == nil {
		return true
	}
	what := fmt.Sprintf("a whole number from %d to %d", low, high)
	if auto {
		what = "auto or " + what
	}
	if n.kind != kindNumber && n.kind != kindString {
		d.expected(n, what, "")
		return false
	}
	text, variable, ok := d.scalar(n)
	switch {
	case !ok:
		return false
	case auto && n.kind == kindString && text == "auto":
		*dst = 0
		return true
	case n.kind == kindString && !variable:
		d.expected(n, what, numberFix(n, text))
		return false
	}
	v, err := strconv.Atoi(text)
	if err != nil || strconv.Itoa(v) != text || v < low || v > high {
		fix := numberFix(n, text)
		if auto && v == 0 && err == nil {
			fix = `write "auto"`
		}
		d.faultf(n, fix, "expected %s, got %s", what, got(n, text))
		return false
	}
	*dst = v
	return true
}

// numberFix proposes a plain number for one in quotes, with a unit, or in
// another notation.
func numberFix(n *node, text string) string {
	plain := strings.ReplaceAll(strings.TrimSpace(text), "_", "")
	factor := uint64(1)
	if len(plain) > 1 {
		switch plain[len(plain)-1] {
		case 'k', 'K':
			plain, factor = plain[:len(plain)-1], 1000
		case 'm', 'M':
			plain, factor = plain[:len(plain)-1], 1000_000
		}
	}
	v, err := strconv.ParseUint(plain, 10, 24)
	if err != nil {
		return ""
	}
	number := strconv.FormatUint(v*factor, 10)
	switch {
	case number != text:
		return "write " + number
	case n.kind == kindString:
		return "write " + number + ", without quotes"
	}
	return ""
}

// boolean sets dst to true or false.
func (d *decoder) boolean(n *node, dst *bool) bool {
	if n == nil {
		return true
	}
	text, variable, ok := d.scalar(n)
	if !ok {
		return false
	}
	if n.kind == kindBool || variable {
		switch text {
		case "true", "false":
			*dst = text == "true"
			return true
		}
	}
	fix := ""
	if n.kind != kindNull {
		fix = "write true or false"
	}
	switch strings.ToLower(text) {
	case "yes", "on", "true", "1":
		fix = "write true"
	case "no", "off", "false", "0":
		fix = "write false"
	}
	if n.kind == kindString {
		fix += ", without quotes"
	}
	if variable {
		d.faultf(n, "set it to true or false", "expected true or false, got %s", got(n, text))
		return false
	}
	d.expected(n, "true or false", fix)
	return false
}

// duration sets dst to a time such as "30s"; zero tells whether 0 is allowed.
func (d *decoder) duration(n *node, zero bool, dst *time.Duration) bool {
	if n == nil {
		return true
	}
	const what = `a duration such as "30s"`
	if n.kind != kindNumber && n.kind != kindString {
		d.expected(n, what, "")
		return false
	}
	text, _, ok := d.scalar(n)
	if !ok {
		return false
	}
	v, err := time.ParseDuration(text)
	switch {
	case err != nil:
		d.faultf(n, durationFix(text), "expected %s, got %s", what, got(n, text))
	case v < 0:
		d.faultf(n, "write a positive one", "a duration cannot be negative: %s", shorten(text))
	case v == 0 && !zero:
		d.faultf(n, `write one such as "3s"`, "this duration cannot be 0")
	case v > maxDuration:
		d.faultf(n, `write "0s" for no limit where 0 is allowed, or at most "876000h"`, "longer than 100 years: %s", shorten(text))
	case v > 0 && v < time.Millisecond:
		d.faultf(n, `write "1ms" or more`, "shorter than 1ms: %s", shorten(text))
	default:
		*dst = v
		return true
	}
	return false
}

// halfClose decodes half_close: a duration, or off.
func (d *decoder) halfClose(n *node, t *Timeouts) {
	if n != nil && (n.kind == kindBool || n.kind == kindString) {
		text, f := expand(n.text, d.env)
		switch word := strings.ToLower(text); {
		case f != nil: // duration tells
		case text == "off" && n.kind == kindString:
			t.CloseOnFIN = true
			return
		case slices.Contains([]string{"off", "false", "no", "none", "never", "disabled", "unlimited"}, word):
			d.faultf(n, `write "off" to end a connection with its first FIN, or 0 for no limit`, "expected a duration or off, got %s", got(n, text))
			return
		}
	}
	d.duration(n, true, &t.HalfClose)
}

// durationFix proposes what was meant by a duration without a unit, with a
// space, or in days.
func durationFix(text string) string {
	compact := strings.ToLower(strings.ReplaceAll(text, " ", ""))
	if _, err := time.ParseDuration(compact); err == nil {
		return "write " + quote(compact)
	}
	if v, err := strconv.ParseUint(compact, 10, 31); err == nil {
		return fmt.Sprintf("write %q for seconds", strconv.FormatUint(v, 10)+"s")
	}
	if day, ok := strings.CutSuffix(compact, "d"); ok {
		if v, err := strconv.ParseUint(day, 10, 16); err == nil {
			return fmt.Sprintf("write %q", strconv.FormatUint(v*24, 10)+"h")
		}
	}
	return "write a number with ms, s, m or h"
}
