//go:build race

package proxy_test

// underRace makes large tests smaller, because each step takes longer.
const underRace = true
