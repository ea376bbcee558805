// Package top is the live view of a running proxy on a terminal. It asks a [Source] at an interval
// and shows listeners, pools, backends and the busiest connections.
//
// model.go has the state and what changes it, view.go what the state looks like, panes.go the
// columns of the four tables, and list.go a table that is sorted, filtered and scrolled.
package top
