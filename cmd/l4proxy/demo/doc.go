// Package demo is what `l4proxy demo` runs beside the proxy: backends that say who they are, and a
// light load.
package demo
