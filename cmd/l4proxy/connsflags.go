package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"l4proxy/admin"
)

// connFlags are the flags that select connections.
type connFlags struct {
	admin.ConnectionFilter
	olderThan, idle time.Duration
}

func (f *connFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.Listener, "listener", "", "only connections of this listener")
	flags.StringVar(&f.Pool, "pool", "", "only connections of this pool")
	flags.StringVar(&f.Backend, "backend", "", "only connections to this backend: its address as configured, or the one it resolved to")
	flags.Var(&f.From, "from", "only connections of clients at this address or in this `PREFIX`, such as 10.1.2.3 or 10.1.0.0/16")
	flags.DurationVar(&f.olderThan, "older-than", 0, "only connections at least this old, such as 10m")
	flags.DurationVar(&f.idle, "idle", 0, "only connections on which no byte has moved for this time, such as 10m")
}

// filter returns what the flags select. A flag whose value a script has lost is an error: it must
// not select all connections.
func (f *connFlags) filter(cmd *cobra.Command) (admin.ConnectionFilter, error) {
	for _, name := range []string{"listener", "pool", "backend"} {
		if flag := cmd.Flags().Lookup(name); flag.Changed && flag.Value.String() == "" {
			return f.ConnectionFilter, fmt.Errorf("--%s is empty: write a value", name)
		}
	}
	for name, d := range map[string]time.Duration{"older-than": f.olderThan, "idle": f.idle} {
		if d < 0 {
			return f.ConnectionFilter, fmt.Errorf("--%s: write a duration such as 10m", name)
		}
	}
	f.OlderThan, f.Idle = admin.Duration(f.olderThan), admin.Duration(f.idle)
	return f.ConnectionFilter, nil
}
