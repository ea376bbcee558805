package events

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"
)

// details collects the details of an event, within bounds.
type details struct {
	all  map[string]any
	left int // bytes of text
}

// add adds an attribute; the members of a group have its name in front of theirs.
func (d *details) add(key string, v slog.Value) {
	if v.Kind() == slog.KindGroup {
		for _, a := range v.Group() {
			name := a.Key
			if key != "" {
				name = key + "." + name
			}
			d.add(name, a.Value.Resolve())
		}
		return
	}
	if key == "" || len(d.all) >= maxDetails {
		return
	}
	d.all[d.text(key)] = d.value(v)
}

// value is a value for JSON.
func (d *details) value(v slog.Value) any {
	switch v.Kind() {
	case slog.KindBool:
		return v.Bool()
	case slog.KindInt64:
		return v.Int64()
	case slog.KindUint64:
		return v.Uint64()
	case slog.KindFloat64:
		if f := v.Float64(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	case slog.KindDuration:
		return v.Duration().Seconds()
	case slog.KindTime:
		return v.Time().UTC().Format(time.RFC3339Nano)
	case slog.KindAny:
		if list, ok := v.Any().([]string); ok {
			texts := make([]string, 0, min(len(list), maxList))
			for _, text := range list[:min(len(list), maxList)] {
				texts = append(texts, d.text(text))
			}
			return texts
		}
		return d.text(fmt.Sprint(v.Any()))
	}
	return d.text(v.String())
}

// text cuts a text, and counts it.
func (d *details) text(s string) string {
	s = cut(s, min(maxText, d.left))
	d.left -= len(s)
	return s
}

// cut bounds a text. It copies what it cuts, so that the rest is not kept.
func cut(s string, most int) string {
	if len(s) > most {
		s = strings.Clone(s[:max(most, 0)])
	}
	return strings.ToValidUTF8(s, "?")
}
