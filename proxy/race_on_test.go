//go:build race

package proxy_test

// underRace makes the tests of size smaller where each step takes longer.
const underRace = true
