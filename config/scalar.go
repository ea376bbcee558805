package config

import (
	"fmt"
	"reflect"
	"strconv"
)

// written lists the types that a scalar may have in a file. A string that holds a variable may
// stand for anything: neither format lets a reader write ${N} as a number.
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
	// show writes a value as in a file; nil is fmt.Sprint.
	show func(T) string
	auto bool // the word "auto" is the zero value
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

// check asks for the bounds. The zero value of a scalar without a default, or with "auto", means
// that the key is left out.
func (v scalar[T]) check(c *checker, p *path) {
	leftOut := (v.deflt == "" || v.auto) && v.empty()
	if v.bounds == nil || leftOut {
		return
	}
	if f := v.bounds(*v.dst); f != nil {
		c.add(p, f.about(v.expects(), fmt.Sprint(*v.dst)))
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
		d.fault(n, p, f.about(v.expects(), n.got(text)))
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

// text returns the text of n with its variables expanded, if a value of this type may be written
// like that.
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

// unreadable is the fault of a text that is not a value of its type at all.
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
		dst: dst, as: asString, parse: of.parse, deflt: of.text(deflt), typ: of.schema, show: of.text,
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
			return faultf(fix, "the string is empty")
		}
		if bounds == nil {
			return nil
		}
		return bounds(text)
	})
}

// zone is the name of a zone.
func zone(dst *string) value { return text(dst, "the name of a zone").where(checkName) }
