package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
)

// drainPoll is how often drain --wait looks.
const drainPoll = 250 * time.Millisecond

func newDrainCommand() *cobra.Command {
	var q admin.DrainRequest
	var timeout time.Duration
	var wait, yes bool
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Take a backend, a listener or the whole proxy out of service, gently",
		Long: "Take a part of a running proxy, or all of it, out of service without breaking connections:\n" +
			"  --listener NAME      close a listener to new clients\n" +
			"  --backend ADDRESS    send a backend no new clients; --pool if several pools have it\n" +
			"  neither              shut the whole proxy down, as SIGTERM does\n\n" +
			"--undo puts a listener or a backend back into service.\n" +
			"--timeout closes the connections that are left after that time. Without it, connections of a\n" +
			"listener or a backend stay open until they end; for the whole proxy, drain.timeout applies.\n\n" +
			"On a terminal, the command asks before it shuts the whole proxy down.",
		Example: "  l4proxy drain --backend 10.0.0.5:5432 --wait\n" +
			"  l4proxy drain --backend 10.0.0.5:5432 --undo\n" +
			"  l4proxy drain --listener web --timeout 30s",
	}
	newAdminCommand(cmd, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		if cmd.Flags().Changed("timeout") {
			limit := admin.Duration(timeout)
			q.Timeout = &limit
		}
		if process := q.Listener == "" && q.Backend == ""; process && !yes {
			if ask := terminal(cmd.InOrStdin()); ask != nil {
				if err := confirm(ctx, ask, cmd.ErrOrStderr(), "Shut the whole proxy down?", errNotDrained); err != nil {
					return nil, err
				}
			}
		}
		drain, err := c.Drain(ctx, q)
		if err != nil {
			return nil, err
		}
		fmt.Fprintln(out, printable(describeDrain(drain, time.Now())))
		if wait && !q.Undo {
			drain, err = awaitDrain(ctx, c, drain)
			if err == nil {
				fmt.Fprintln(out, "no connections are left")
			}
		}
		return drain, err
	})
	flags := cmd.Flags()
	flags.StringVar(&q.Listener, "listener", "", "name of a listener")
	flags.StringVar(&q.Pool, "pool", "", "name of the pool of --backend")
	flags.StringVar(&q.Backend, "backend", "", "address of a backend, as in the configuration")
	flags.BoolVar(&q.Undo, "undo", false, "put the listener or backend back into service")
	flags.DurationVar(&timeout, "timeout", 0, "close the connections that are left after this time, such as 30s")
	flags.BoolVarP(&yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&wait, "wait", false, "wait until no connections are left")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		for _, name := range []string{"listener", "pool", "backend"} {
			// A script may have lost the value. That must not drain the whole proxy.
			if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
				return fmt.Errorf("--%s is empty: write a value", name)
			}
		}
		switch {
		case q.Listener != "" && (q.Pool != "" || q.Backend != ""):
			return errors.New("--listener and --backend cannot be combined: drain one after the other")
		case q.Pool != "" && q.Backend == "":
			return errors.New("--pool requires --backend")
		case q.Undo && q.Listener == "" && q.Backend == "":
			return errors.New("--undo requires --listener or --backend: the drain of the whole proxy cannot be undone")
		case q.Undo && (cmd.Flags().Changed("timeout") || wait):
			return errors.New("--undo cannot be combined with --timeout or --wait")
		case timeout < 0:
			return errors.New("--timeout: write a duration such as 30s")
		}
		return noArguments(cmd, args)
	}
	return cmd
}

// errNotDrained is a shutdown that was not confirmed.
var errNotDrained = errors.New("nothing was drained")

// describeDrain says what is drained, and how far it is.
func describeDrain(d *admin.Drain, now time.Time) string {
	text := d.What()
	switch d.State {
	case admin.DrainUp:
		return text + " is in service"
	case admin.DrainWaiting:
		text += " is about to drain, and still takes clients"
	case admin.DrainDown:
		text += " was set down"
	default:
		text += " is draining"
	}
	text += fmt.Sprintf(": %s of %d left", count(int(d.Connections), "connection"), d.Before)
	if d.Deadline != nil && d.Connections > 0 {
		text += ", to be closed in " + ago(d.Deadline.Sub(now))
	}
	if d.Closed > 0 {
		text += fmt.Sprintf(", %d were closed", d.Closed)
	}
	return text
}

// awaitDrain returns the last state of a drain: when no connection is left, or when the process has
// ended.
func awaitDrain(ctx context.Context, c *client.Client, d *admin.Drain) (*admin.Drain, error) {
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	process := d.Listener == "" && d.Backend == ""
	for d.Connections > 0 || process {
		select {
		case <-ctx.Done():
			return d, context.Canceled
		case <-ticker.C:
		}
		status, err := c.Status(ctx)
		var unreachable *client.UnreachableError
		switch {
		case ctx.Err() != nil:
			return d, context.Canceled
		case process && errors.Is(err, context.DeadlineExceeded):
			continue // it hangs, and has not ended
		case process && errors.As(err, &unreachable):
			return d, nil // it has ended
		case err != nil:
			return d, err
		}
		next := findDrain(status.Drains, d)
		if next == nil {
			if process {
				continue
			}
			return d, fmt.Errorf("%s is no longer drained: the drain was undone, or the configuration no longer has it", d.What())
		}
		d = next
	}
	return d, nil
}

// findDrain returns the present state of a drain.
func findDrain(all []admin.Drain, d *admin.Drain) *admin.Drain {
	for i := range all {
		if all[i].Listener == d.Listener && all[i].Pool == d.Pool && all[i].Backend == d.Backend {
			return &all[i]
		}
	}
	return nil
}
