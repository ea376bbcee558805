package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/term"
)

func newKillCommand() *cobra.Command {
	var flags connFlags
	var request admin.KillRequest
	var yes bool
	cmd := &cobra.Command{
		Use:   "kill",
		Short: "End live connections",
		Long: "End the live connections that the filters select, or a single one by its --id, as 'l4proxy conns'\n" +
			"shows it. Each is ended with a FIN, or with a reset if bytes would be cut short.\n\n" +
			"With --rate, they are ended gradually, the oldest first, while the command returns at once.\n" +
			"On a terminal, the command asks before it ends more than one.",
		Example: "  l4proxy kill --id 0-17-2918273645\n" +
			"  l4proxy kill --from 10.1.2.3\n" +
			"  l4proxy kill --backend 10.0.0.5:5432 --idle 10m --rate 50/s\n" +
			"  l4proxy kill --all --dry-run",
	}
	newAdminCommand(cmd, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		if !yes && !request.DryRun && request.ID == "" {
			if ask := terminal(cmd.InOrStdin()); ask != nil {
				if err := confirmKill(ctx, c, request, ask, cmd.ErrOrStderr()); err != nil {
					return nil, err
				}
			}
		}
		killed, err := c.Kill(ctx, request)
		if err != nil {
			return nil, err
		}
		return killed, printKill(out, killed, request.Rate != "")
	})
	flags.add(cmd)
	cmd.Flags().StringVar(&request.ID, "id", "", "the connection with this id")
	cmd.Flags().BoolVar(&request.All, "all", false, "all connections")
	cmd.Flags().StringVar(&request.Rate, "rate", "", "end them at this rate, such as 50/s (default: at once)")
	cmd.Flags().BoolVar(&request.DryRun, "dry-run", false, "only count the connections, and show some of them")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Args = func(cmd *cobra.Command, args []string) (err error) {
		request.ConnectionFilter, err = flags.filter(cmd)
		_, badRate := admin.ParseRate(request.Rate)
		lost := func(name string) bool { f := cmd.Flags().Lookup(name); return f.Changed && f.Value.String() == "" }
		switch {
		case err != nil:
			return err
		case lost("id"), lost("rate"):
			return errors.New("--id or --rate is empty: write a value")
		case badRate != nil:
			return fmt.Errorf("--rate: %w", badRate)
		case !request.Selects() && request.ID == "" && !request.All:
			return errors.New("nothing selects the connections to end: write a filter such as --listener NAME or --from ADDRESS, --id ID, or --all")
		case request.All && (request.Selects() || request.ID != ""):
			return errors.New("--all cannot be combined with a filter: remove one of them")
		}
		return noArguments(cmd, args)
	}
	return cmd
}

// errNotConfirmed is a kill that was not confirmed.
var errNotConfirmed = errors.New("no connection was ended")

// confirmKill asks whether to end the connections, if there is more than one. It returns an error
// if the answer is no.
func confirmKill(ctx context.Context, c *client.Client, request admin.KillRequest, in io.Reader, out io.Writer) error {
	request.DryRun = true
	would, err := c.Kill(ctx, request)
	if err != nil || would.Matched <= 1 {
		return err
	}
	return confirm(ctx, in, out, fmt.Sprintf("End %s?", count(would.Matched, "connection")), errNotConfirmed)
}

// printKill writes the outcome of a kill for people. gradual says that it had a rate.
func printKill(w io.Writer, k *admin.Kill, gradual bool) error {
	var b strings.Builder
	switch {
	case k.Matched == 0:
		b.WriteString("no connection matches\n")
	case k.DryRun:
		fmt.Fprintf(&b, "dry run: %s would be ended", count(k.Matched, "connection"))
		if k.Seconds > 0 {
			fmt.Fprintf(&b, ", within %s", term.Seconds(k.Seconds))
		}
		b.WriteString("\n\n")
		b.WriteString(tableOfConns(k.Sample, false).Render(screenOf(w)))
		if more := k.Matched - len(k.Sample); more > 0 {
			fmt.Fprintf(&b, "and %d more\n", more)
		}
	case gradual:
		fmt.Fprintf(&b, "ending %s, done in %s\n", count(k.Matched, "connection"), term.Seconds(k.Seconds))
	case k.Killed == k.Matched:
		fmt.Fprintf(&b, "ended %s\n", count(k.Killed, "connection"))
	default:
		fmt.Fprintf(&b, "ended %s; the others had already ended, or no longer matched\n", count(k.Killed, "connection"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
