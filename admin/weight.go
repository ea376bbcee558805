package admin

import (
	"encoding/json"
	"errors"
	"strconv"
)

// MaxWeight is the largest weight of a backend.
const MaxWeight = 1000

// Weight is a weight for a backend: a number from 1 to MaxWeight, or ConfiguredWeight. In JSON,
// that is "config".
type Weight int

// ConfiguredWeight returns to the weight of the configuration.
const ConfiguredWeight Weight = 0

const configuredWord = "config"

// MarshalJSON writes a number or "config".
func (w Weight) MarshalJSON() ([]byte, error) {
	if w == ConfiguredWeight {
		return json.Marshal(configuredWord)
	}
	return strconv.AppendInt(nil, int64(w), 10), nil
}

// UnmarshalJSON reads a number or "config". A weight of 0 is not one: that is a drain.
func (w *Weight) UnmarshalJSON(text []byte) error {
	if string(text) == strconv.Quote(configuredWord) {
		*w = ConfiguredWeight
		return nil
	}
	n, err := strconv.Atoi(string(text))
	switch {
	case err != nil:
		return errors.New(`weight: write a whole number from 1 to 1000, or "config"`)
	case n == 0:
		return errors.New(`weight 0: to send a backend no new clients, write "state": "drain"`)
	case n < 0 || n > MaxWeight:
		return errors.New("weight " + string(text) + ": write a whole number from 1 to 1000")
	}
	*w = Weight(n)
	return nil
}
