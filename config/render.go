package config

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// JSON writes a configuration in its full form, with all defaults, as a file could have it. Secrets
// are hidden. What it says of a list file is only its name.
func (c *Config) JSON() ([]byte, error) { return c.render(true) }

func (c *Config) render(hideSecrets bool) ([]byte, error) {
	var out bytes.Buffer
	r := renderer{&out, hideSecrets}
	if err := r.fields(c.fields()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// renderer writes the values of tables of keys as JSON, in the order of the tables.
type renderer struct {
	out         *bytes.Buffer
	hideSecrets bool
}

// plainValue is a value that is one text, number or boolean.
type plainValue interface {
	// plain is the value, nil if it is left out.
	plain() any
}

// manyValues is a value that is a list.
type manyValues interface {
	// each calls f with each item. The value is valid during the call.
	each(f func(value) error) error
}

// namedValues is a mapping whose keys the user chooses.
type namedValues interface {
	eachNamed(f func(name string, of fields) error) error
}

// leftOut reports whether a value is not written at all.
func leftOut(v value) bool {
	switch v := v.(type) {
	case unsupported:
		return true
	case requiredValue:
		return leftOut(v.emptyable)
	case interface{ inside() value }:
		return v.inside() == nil || leftOut(v.inside())
	case plainValue:
		return v.plain() == nil
	case manyValues:
		empty, ok := v.(emptyable)
		return ok && empty.empty()
	case clients:
		return v.rule.Allow != v.allow
	}
	return false
}

func (r renderer) value(v value) error {
	switch v := v.(type) {
	case requiredValue:
		return r.value(v.emptyable)
	case bindValue:
		if v.of.BindOptions == (BindOptions{}) {
			return r.text(v.of.String())
		}
		return r.fields(v.fields())
	case interface{ inside() value }:
		return r.value(v.inside())
	case clients:
		return r.clients(v.rule)
	case ruleValue:
		var of fields
		for _, f := range v.fields() {
			// with is for deny rules, and most rules are no shadow rules.
			if f.key == "with" && v.of.Allow || f.key == "shadow" && !v.of.Shadow {
				continue
			}
			of = append(of, f)
		}
		return r.fields(of)
	case plainValue:
		return r.text(v.plain())
	case manyValues:
		return r.list(v)
	case namedValues:
		return r.named(v)
	case interface{ fields() fields }:
		return r.fields(v.fields())
	}
	return r.text(currentOf(v))
}

func (r renderer) fields(of fields) error {
	r.out.WriteByte('{')
	first := true
	for _, f := range of {
		if leftOut(f.value) {
			continue
		}
		if err := r.key(f.key, &first); err != nil {
			return err
		}
		var err error
		if r.hideSecrets && secrets[f.key] {
			err = r.text(hidden)
		} else {
			err = r.value(f.value)
		}
		if err != nil {
			return err
		}
	}
	r.out.WriteByte('}')
	return nil
}

func (r renderer) list(of manyValues) error {
	r.out.WriteByte('[')
	first := true
	err := of.each(func(item value) error {
		r.comma(&first)
		return r.value(item)
	})
	r.out.WriteByte(']')
	return err
}

func (r renderer) named(of namedValues) error {
	r.out.WriteByte('{')
	first := true
	err := of.eachNamed(func(name string, of fields) error {
		if err := r.key(name, &first); err != nil {
			return err
		}
		return r.fields(of)
	})
	r.out.WriteByte('}')
	return err
}

func (r renderer) key(name string, first *bool) error {
	r.comma(first)
	if err := r.text(name); err != nil {
		return err
	}
	r.out.WriteByte(':')
	return nil
}

func (r renderer) comma(first *bool) {
	if !*first {
		r.out.WriteByte(',')
	}
	*first = false
}

func (r renderer) text(v any) error {
	if text, ok := v.(string); ok { // a literal ${, see expand
		v = strings.ReplaceAll(text, "${", "$${")
	}
	text, err := json.Marshal(v)
	r.out.Write(text)
	return err
}

func (v scalar[T]) plain() any {
	if data, ok := any(*v.dst).([]byte); ok {
		return plainPayload(data)
	}
	switch {
	case v.empty() && v.auto:
		return "auto"
	case v.empty() && v.deflt == "":
		return nil
	case v.show != nil:
		return v.show(*v.dst)
	}
	switch any(*v.dst).(type) {
	case bool, int, uint8, uint16, uint32:
		return *v.dst
	case V6Only:
		return any(*v.dst) == V6Yes
	}
	return v.current()
}

// plainPayload is a payload as a file has it. Bytes that are no text, or that decode would read as
// something else, are hexadecimal.
func plainPayload(data []byte) any {
	text := string(data)
	switch {
	case len(data) == 0:
		return nil
	case !utf8.ValidString(text), strings.HasPrefix(text, "hex:"), strings.Contains(text, `\r`), strings.Contains(text, `\n`):
		return "hex:" + hex.EncodeToString(data)
	}
	return text
}

func (v textValue) plain() any {
	if *v.dst == "" {
		return nil
	}
	return *v.dst
}

func (v secretValue) plain() any {
	if *v.dst == "" {
		return nil
	}
	return string(*v.dst)
}

func (v halfClose) plain() any { return v.current() }

func (v list[T]) each(f func(value) error) error {
	var one T
	of := v.item(&one)
	for i := range *v.dst {
		one = (*v.dst)[i]
		if err := f(of); err != nil {
			return err
		}
	}
	return nil
}

func (v namedParts[T, P]) eachNamed(f func(name string, of fields) error) error {
	for i := range *v.dst {
		part := P(&(*v.dst)[i])
		if err := f(*part.name(), part.fields()); err != nil {
			return err
		}
	}
	return nil
}
