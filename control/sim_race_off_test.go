//go:build !race

package control

// simSeeds is how many seeds the simulation runs.
const simSeeds = 2500
