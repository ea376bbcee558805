//go:build race

package control

// simSeeds is how many seeds the simulation runs: fewer where each step takes longer.
const simSeeds = 150
