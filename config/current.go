package config

import (
	"fmt"
	"strings"
)

// shown is a value that can be written as text. All values of the full form are, except those that
// [Differences] compares by itself; a test checks that.
type shown interface {
	// current is the value as in a file, "" if it is left out.
	current() string
}

// maxShown bounds the text of one value, in bytes.
const maxShown = 200

func currentOf(v value) string {
	if s, ok := v.(shown); ok {
		return s.current()
	}
	return ""
}

func (v scalar[T]) current() string {
	switch {
	case v.empty() && v.auto:
		return "auto"
	case v.empty() && v.deflt == "":
		return ""
	case v.show != nil:
		return v.show(*v.dst)
	}
	return fmt.Sprint(*v.dst)
}

func (v textValue) current() string {
	if *v.dst == "" {
		return ""
	}
	if strings.ContainsAny(*v.dst, " \t\r\n,:{}[]\"") {
		return fmt.Sprintf("%q", *v.dst)
	}
	return *v.dst
}

func (v halfClose) current() string {
	if *v.off {
		return "off"
	}
	return v.durationValue.current()
}

func (v structure[P]) current() string { return v.fields().current() }

// current lists the keys that do not have their default.
func (fs fields) current() string {
	var parts []string
	for _, f := range fs {
		text := currentOf(f.value)
		if text == "" || text == "{}" || text == f.value.shown() || sameDefault(f.value, text) {
			continue
		}
		if secrets[f.key] {
			text = hidden
		}
		parts = append(parts, f.key+": "+text)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// sameDefault reports whether text is the default in another spelling: 1h0m0s is 1h.
func sameDefault(v value, text string) bool {
	d, ok := v.(interface{ defaultText() string })
	return ok && d.defaultText() == text
}

func (v scalar[T]) defaultText() string {
	if v.deflt == "" || v.auto {
		return v.deflt
	}
	parsed, f := v.parse(v.deflt)
	if f != nil {
		return v.deflt
	}
	if v.show != nil {
		return v.show(parsed)
	}
	return fmt.Sprint(parsed)
}

// inside is what a pointer points to, nil for nothing.
func (v pointerTo[T]) inside() value {
	if *v.dst == nil {
		return nil
	}
	return v.of(*v.dst)
}

func (v pointerTo[T]) current() string {
	if inside := v.inside(); inside != nil {
		return currentOf(inside)
	}
	return ""
}

func (v requiredValue) current() string { return currentOf(v.emptyable) }

func (v list[T]) current() string {
	if *v.dst == nil {
		return ""
	}
	texts := make([]string, 0, len(*v.dst))
	var one T
	of := v.item(&one)
	for i := range *v.dst {
		one = (*v.dst)[i]
		texts = append(texts, currentOf(of))
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// abridged is a text that fits a line.
func abridged(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "") + "..."
}
