// Package term writes text for people: aligned tables, colors where the output is a terminal that
// wants them, and units. Commands and the live view share it, so that the same state has the same
// color, and the same number the same form, everywhere.
package term
