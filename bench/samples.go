package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// figures are values by the metric's name. A metric may be missing: without a proxy there
// is no CPU time of the proxy.
type figures map[string]float64

// kept returns the figures of some metrics, with more digits than any table or picture
// shows.
func (f figures) kept(metrics []metric) figures {
	kept := make(figures)
	for _, m := range metrics {
		if v, ok := f[m.name]; ok {
			kept[m.name] = significant(v, 8)
		}
	}
	return kept
}

// significant returns v to that number of significant digits.
func significant(v float64, digits int) float64 {
	// What FormatFloat writes can be parsed.
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', digits, 64), 64)
	return v
}

// samples are figures, one after the other. In JSON they are a list for each name, with
// null for a missing figure, which takes a third of the bytes.
type samples []figures

// MarshalJSON implements [json.Marshaler].
func (s samples) MarshalJSON() ([]byte, error) {
	columns := make(map[string][]*float64)
	for i, f := range s {
		for name, value := range f {
			if columns[name] == nil {
				columns[name] = make([]*float64, len(s))
			}
			columns[name][i] = &value
		}
	}
	return json.Marshal(columns)
}

// UnmarshalJSON implements [json.Unmarshaler]. It also takes a list of figures,
// which earlier reports have.
func (s *samples) UnmarshalJSON(data []byte) error {
	if !bytes.HasPrefix(data, []byte("{")) {
		return json.Unmarshal(data, (*[]figures)(s))
	}
	var columns map[string][]*float64
	if err := json.Unmarshal(data, &columns); err != nil {
		return err
	}
	for name, values := range columns {
		if *s == nil {
			for range values {
				*s = append(*s, make(figures))
			}
		}
		if len(values) != len(*s) {
			return fmt.Errorf("%q has %d samples, others have %d", name, len(values), len(*s))
		}
		for i, value := range values {
			if value != nil {
				(*s)[i][name] = *value
			}
		}
	}
	return nil
}
