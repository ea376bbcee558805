//go:build race

package config

// slowdown makes the tests of size smaller where each step takes longer.
const slowdown = 10
