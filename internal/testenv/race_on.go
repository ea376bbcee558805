//go:build race

package testenv

// Race reports whether the race detector is on. It makes a step take about ten times as long, so
// tests of size or of speed are smaller under it.
const Race = true
