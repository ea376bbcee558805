//go:build !race

package metrics

const underRace = false
