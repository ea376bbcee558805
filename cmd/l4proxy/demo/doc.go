// Package demo is what `l4proxy demo` runs beside the proxy: backends that say who they are and can
// be broken on purpose, and a light load.
package demo
