package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// written says as what a scalar may stand in a file. A string that holds a
// variable may stand for anything: neither format lets a reader write ${N} as a
// number.
type written uint8

const (
	asString written = 1 << iota
	asNumber
	asBool
)

// scalar is a value that is one text: a number, a duration, an address.
type scalar[T any] struct {
	dst   *T
	as    written
	what  string // for "expected ..., got ..."; "" asks describe
	parse func(string) (T, *Fault)
	// bounds, when not nil, refuses values.
	bounds func(T) *Fault
	deflt  string // as in a file; "" leaves the zero value
	auto   bool   // the word "auto" is the zero value
	// describe and typ make what is rarely asked for.
	describe func() string
	typ      func() schema
}

func (v scalar[T]) def(text string) scalar[T] {
	v.deflt, v.auto = text, text == "auto"
	return v
}

func (v scalar[T]) shown() string { return v.deflt }

func (v scalar[T]) reset() {
	*v.dst = *new(T)
	if v.deflt != "" && !v.auto {
		*v.dst, _ = v.parse(v.deflt)
	}
}

func (v scalar[T]) empty() bool { return reflect.ValueOf(v.dst).Elem().IsZero() }

// check asks for the bounds. The zero value of a scalar without a default, or
// with "auto", means that the key is left out.
func (v scalar[T]) check(c *checker, p *path) {
	if v.bounds != nil && ((v.deflt != "" && !v.auto) || !v.empty()) {
		c.add(p, v.bounds(*v.dst).about(v.expects(), fmt.Sprint(*v.dst)))
	}
}

func (v scalar[T]) decode(d *decoder, n *node, p *path) {
	text, ok := v.text(d, n, p)
	if !ok {
		return
	}
	if v.auto && text == "auto" {
		*v.dst = *new(T)
		return
	}
	value, f := v.parse(text)
	if f == nil && v.bounds != nil {
		f = v.bounds(value)
	}
	if f != nil {
		f.about(v.expects(), n.got(text))
		d.fault(n, p, f)
		return
	}
	*v.dst = value
}

func (v scalar[T]) expects() string {
	what := v.what
	if what == "" {
		what = v.describe()
	}
	if v.auto {
		return "auto or " + what
	}
	return what
}

// text returns the text of n with its variables expanded, if a value of this
// type may be written like that.
func (v scalar[T]) text(d *decoder, n *node, p *path) (text string, ok bool) {
	text, variable, ok := d.scalar(n, p)
	if !ok {
		return "", false
	}
	switch n.kind {
	case kindString:
		ok = v.as&asString != 0 || variable || v.auto && text == "auto"
	case kindNumber:
		ok = v.as&asNumber != 0
	case kindBool:
		ok = v.as&asBool != 0
	default:
		ok = false
	}
	if !ok {
		d.expected(n, p, v.expects(), v.otherwise(n, text))
	}
	return text, ok
}

// otherwise says how to write the same text in a way that is accepted.
func (v scalar[T]) otherwise(n *node, text string) string {
	switch n.kind {
	case kindList:
		return "write one value"
	case kindNull, kindMap:
		return ""
	}
	_, f := v.parse(text)
	switch {
	case f != nil && (n.kind == kindBool && !f.generic || f.Fix == "write "+v.expects()):
		return ""
	case f != nil:
		return f.Fix
	case n.kind == kindString:
		return "write " + text + ", without quotes"
	}
	return "write " + quote(text) + ", in quotes"
}

func (v scalar[T]) schema() schema {
	s := v.typ()
	if v.as&asString == 0 {
		s = anyOf(s, ofVariable)
	}
	if v.auto {
		s = anyOf(schema{"const": "auto"}, s)
	}
	return s.with("default", v.schemaDefault())
}

// schemaDefault is the default in the type of JSON that it has.
func (v scalar[T]) schemaDefault() any {
	if v.deflt == "" {
		return nil
	}
	if v.as&asString == 0 && !v.auto {
		value, _ := v.parse(v.deflt)
		return value
	}
	return v.deflt
}

// unreadable is the fault of a text that is no value of its type at all.
func unreadable(fix string) *Fault { return &Fault{Fix: fix, generic: true} }

func boolean(dst *bool, deflt bool) value {
	return scalar[bool]{
		dst: dst, as: asBool, what: "true or false", deflt: strconv.FormatBool(deflt),
		typ: func() schema { return schema{"type": "boolean"} },
		parse: func(text string) (bool, *Fault) {
			if text != "true" && text != "false" {
				return false, unreadable("write true or false, without quotes")
			}
			return text == "true", nil
		},
	}
}

func enum[T comparable](dst *T, of *words[T], deflt T) value {
	return scalar[T]{
		dst: dst, as: asString, parse: of.parse, deflt: of.text(deflt), typ: of.schema,
		describe: func() string { return oneOf(of.texts()) },
		bounds: func(v T) *Fault {
			if !of.has(v) {
				return faultf("write "+oneOf(of.texts()), "unknown %s", of.what)
			}
			return nil
		},
	}
}

func integer[T int | uint16](dst *T, low, high T) scalar[T] {
	v := scalar[T]{
		dst: dst, as: asNumber,
		describe: func() string { return fmt.Sprintf("a whole number from %d to %d", low, high) },
		typ:      func() schema { return schema{"type": "integer", "minimum": low, "maximum": high} },
		parse: func(text string) (T, *Fault) {
			v, err := strconv.Atoi(text)
			if err != nil || strconv.Itoa(v) != text {
				return 0, unreadable("write a plain number, such as 1000")
			}
			if int(T(v)) != v {
				return 0, unreadable("")
			}
			return T(v), nil
		},
	}
	v.bounds = func(n T) *Fault {
		if n < low || n > high {
			return unreadable("")
		}
		return nil
	}
	return v
}

// percent is a share such as "50%".
func percent(dst *int, low, high int) scalar[int] {
	v := integer(dst, low, high)
	v.as = asNumber | asString
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
			return 0, unreadable("write a whole number with %")
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
				return 0, unreadable("write a number with ms, s, m or h")
			}
			return v, nil
		},
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

// rate is how many per second "10/s", "30/m" or "2/h" are.
func rate(dst *float64) scalar[float64] {
	return scalar[float64]{
		dst: dst, as: asString | asNumber, what: `a rate such as "10/s", "30/m" or "2/h"`,
		typ: textLike(`^[1-9][0-9]*/[smh]$`),
		parse: func(text string) (float64, *Fault) {
			number, unit, _ := strings.Cut(text, "/")
			v, err := strconv.Atoi(number)
			per := rateUnits[unit]
			if err != nil || strconv.Itoa(v) != number || per == 0 || v < 0 {
				return 0, unreadable("write a whole number and /s, /m or /h")
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

// textValue is any text.
type textValue struct{ scalar[string] }

func text(dst *string, what string) textValue {
	return textValue{scalar[string]{
		dst: dst, as: asString, what: what, typ: anyText,
		parse: func(text string) (string, *Fault) { return text, nil },
	}}
}

func (v textValue) def(text string) textValue {
	v.scalar = v.scalar.def(text)
	return v
}

func (v textValue) where(bounds func(string) *Fault) textValue {
	v.bounds = bounds
	return v
}

// max bounds the length in bytes.
func (v textValue) max(most int) textValue {
	return v.where(func(text string) *Fault {
		if len(text) > most {
			return faultf("write a shorter one", "the text is longer than %d bytes", most)
		}
		return nil
	})
}

// full refuses an empty text.
func (v textValue) full(fix string) textValue {
	bounds := v.bounds
	return v.where(func(text string) *Fault {
		if text == "" {
			return faultf(fix, "the text is empty")
		}
		return bounds(text)
	})
}

// zone is the name of a zone.
func zone(dst *string) value { return text(dst, "the name of a zone").where(checkName) }

// mode is the permissions of a file, in octal.
func mode(dst *uint32) value {
	const what = `permissions in octal such as "0660"`
	return modeValue{scalar[uint32]{
		dst: dst, as: asString | asNumber, what: what,
		typ: func() schema {
			return anyOf(textLike(`^(0o)?0*[0-7]{1,3}$`)(), schema{"type": "integer", "minimum": 0})
		},
		parse: func(text string) (uint32, *Fault) {
			v, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
			if err != nil || strings.ContainsAny(text, "_+") {
				return 0, unreadable(`write three digits from 0 to 7, as in "0660"`)
			}
			return uint32(v), nil
		},
		bounds: func(v uint32) *Fault {
			switch {
			case v > 0o777:
				return faultf(`write at most "0777"`, "a socket has permissions up to 0777, got %04o", v)
			case v&0o222 == 0:
				return faultf(`write a mode such as "0660"`, "no client could connect with the mode %04o: connecting needs write permission", v)
			}
			return nil
		},
	}}
}

type modeValue struct{ scalar[uint32] }

func (v modeValue) decode(d *decoder, n *node, p *path) {
	if n.kind == kindNumber && !strings.HasPrefix(n.text, "0") {
		d.faultf(n, p, `write it in octal and in quotes, as in "0660"`, "the mode %s is ambiguous, decimal or octal", shorten(n.text))
		return
	}
	v.scalar.decode(d, n, p)
}

// owner is "user", "user:group" or ":group", by name or number. Whether they
// exist is checked at startup.
func owner(dst *Owner) value {
	return scalar[Owner]{
		dst: dst, as: asString | asNumber, what: `"user", "user:group" or ":group"`,
		typ: func() schema { return anyOf(anyText(), schema{"type": "integer", "minimum": 0}) },
		parse: func(text string) (Owner, *Fault) {
			user, group, both := strings.Cut(text, ":")
			if strings.ContainsAny(text, " \t\n/") || strings.Contains(group, ":") || text == "" || both && group == "" {
				return Owner{}, unreadable(`write names or numbers, as in "www-data" or "www-data:adm"`)
			}
			return Owner{user, group}, nil
		},
	}
}

// status is one status code, or a range of them.
func status(dst *StatusRange) value {
	return scalar[StatusRange]{
		dst: dst, as: asString | asNumber, what: `a status such as 200 or "200-399"`,
		typ: func() schema {
			return anyOf(schema{"type": "integer", "minimum": 100, "maximum": 599}, textLike(`^[1-5][0-9]{2}(-[1-5][0-9]{2})?$`)())
		},
		parse: func(text string) (r StatusRange, f *Fault) {
			low, high, isRange := strings.Cut(text, "-")
			if !isRange {
				high = low
			}
			from, err1 := strconv.ParseUint(low, 10, 16)
			to, err2 := strconv.ParseUint(high, 10, 16)
			if err1 != nil || err2 != nil {
				return r, unreadable("write codes from 100 to 599")
			}
			return StatusRange{int(from), int(to)}, nil
		},
		bounds: func(r StatusRange) *Fault {
			switch {
			case min(r.From, r.To) < 100 || max(r.From, r.To) > 599: // RFC 9110 section 15
				return unreadable("write codes from 100 to 599")
			case r.To < r.From:
				return faultf(fmt.Sprintf("write \"%d-%d\"", r.To, r.From), "the range %s ends before it begins", r)
			}
			return nil
		},
	}
}
