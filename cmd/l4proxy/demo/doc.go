// Package demo is what `l4proxy demo` shows beside the proxy: backends that say who they are, a gentle load, and a
// report in which one sees the load balanced.
package demo
