package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
)

func newBanCommand() *cobra.Command {
	var request admin.BanRequest
	var duration time.Duration
	var yes bool
	cmd := &cobra.Command{
		Use:   "ban PREFIX",
		Short: "Ban the clients of an address or a prefix",
		Long: "Ban the clients of an address or a prefix on all listeners, before the access control list, for a\n" +
			"time or until 'l4proxy unban'. Their live connections stay open, unless --kill ends them.\n\n" +
			"What a banned client sees is bans.with of the configuration, or --with. A ban outlives reloads and\n" +
			"upgrades, and with bans.file restarts too. On a terminal, the command asks before it bans this\n" +
			"machine, your own address or everyone; to ban everyone in a script, write --yes.",
		Example: "  l4proxy ban 203.0.113.7\n" +
			"  l4proxy ban 203.0.113.0/24 --for 1h --reason scanner\n" +
			"  l4proxy ban 2001:db8::/32 --for 24h --with close --kill",
	}
	newAdminCommand(cmd, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		if !yes && !request.DryRun {
			if ask := terminal(cmd.InOrStdin()); ask != nil {
				if err := confirmBan(ctx, c, request, ask, cmd.ErrOrStderr()); err != nil {
					return nil, err
				}
				request.Confirm = true
			} else if request.Prefix.Bits() == 0 {
				return nil, fmt.Errorf("%s bans all clients of its family: write --yes if that is meant", request.Prefix)
			}
		}
		request.Confirm = request.Confirm || yes
		banned, err := c.Ban(ctx, request)
		if err != nil {
			return nil, err
		}
		return banned, printBanned(out, &request, banned)
	})
	flags := cmd.Flags()
	flags.DurationVar(&duration, "for", 0, "how long, such as 10m or 24h (default: until it is removed)")
	flags.StringVar(&request.Reason, "reason", "", "a line for people, shown in lists and by explain")
	flags.StringVar(&request.With, "with", "", "what the client sees: "+strings.Join(denyWords(), ", ")+" (default: bans.with)")
	flags.StringVar(&request.Source, "source", "", "the feed that keeps the ban (default: operator)")
	flags.BoolVar(&request.Kill, "kill", false, "end the live connections of the banned clients")
	flags.BoolVar(&request.DryRun, "dry-run", false, "only report what the ban would mean")
	flags.BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := onePrefix(args, &request.Prefix); err != nil {
			return err
		}
		if cmd.Flags().Changed("for") {
			if duration <= 0 {
				return fmt.Errorf("--for %s: write a duration such as 1h, or leave it out for a ban without an end", duration)
			}
			request.For = new(admin.Duration(duration))
		}
		if request.With != "" {
			if err := admin.CheckWith(request.With, denyWords()); err != nil {
				return fmt.Errorf("--with: %w", err)
			}
		}
		return nil
	}
	return cmd
}

// onePrefix reads the only argument.
func onePrefix(args []string, to *admin.Prefix) (err error) {
	switch len(args) {
	case 0:
		return errors.New("the address or prefix is missing, such as 203.0.113.0/24")
	case 1:
		*to, err = admin.ParsePrefix(args[0])
		return err
	}
	return fmt.Errorf("unexpected argument %q: name one address or prefix", args[1])
}

var (
	errNotBanned   = errors.New("nothing was banned")
	errNotUnbanned = errors.New("no ban was removed")
)

// confirmBan asks if the ban is one that may not be meant.
func confirmBan(ctx context.Context, c *client.Client, request admin.BanRequest, in io.Reader, out io.Writer) error {
	request.DryRun = true
	would, err := c.Ban(ctx, request)
	if err != nil || len(would.Warnings) == 0 {
		return err
	}
	for _, w := range would.Warnings {
		fmt.Fprintln(out, "warning: "+printable(w))
	}
	return confirm(ctx, in, out, fmt.Sprintf("Ban %s?", request.Prefix), errNotBanned)
}

func printBanned(w io.Writer, request *admin.BanRequest, b *admin.Banned) error {
	var text strings.Builder
	verb := "banned"
	if b.DryRun {
		verb = "dry run: would ban"
	}
	fmt.Fprintf(&text, "%s %s", verb, request.Prefix)
	switch {
	case request.For != nil:
		fmt.Fprintf(&text, " for %s", ago(time.Duration(*request.For)))
	default:
		text.WriteString(" until it is removed")
	}
	if b.Kept > 0 {
		text.Reset()
		fmt.Fprintf(&text, "%s is banned already, by another source and for longer: nothing changed", request.Prefix)
	}
	switch live := count(b.Connections, "live connection"); {
	case b.Killed > 0:
		fmt.Fprintf(&text, "; ended %s", count(b.Killed, "live connection"))
	case b.Connections == 1:
		text.WriteString("; " + live + " stays open (--kill ends it)")
	case b.Connections > 0:
		text.WriteString("; " + live + " stay open (--kill ends them)")
	}
	text.WriteByte('\n')
	for _, warning := range b.Warnings {
		text.WriteString("warning: " + printable(warning) + "\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func newUnbanCommand() *cobra.Command {
	var request admin.UnbanRequest
	var yes bool
	cmd := &cobra.Command{
		Use:   "unban PREFIX",
		Short: "Remove bans",
		Long: "Remove the ban of a prefix, exactly as 'l4proxy bans' shows it, the bans of a feed, or all bans.\n" +
			"On a terminal, the command asks before it removes more than one.",
		Example: "  l4proxy unban 203.0.113.0/24\n" +
			"  l4proxy unban --source crowdsec\n" +
			"  l4proxy unban --all --yes",
		ValidArgsFunction: completeBans,
	}
	newAdminCommand(cmd, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		if !yes && !request.DryRun && !request.Prefix.IsValid() {
			if ask := terminal(cmd.InOrStdin()); ask != nil {
				if err := confirmUnban(ctx, c, request, ask, cmd.ErrOrStderr()); err != nil {
					return nil, err
				}
			}
		}
		removed, err := c.Unban(ctx, request)
		if err != nil {
			return nil, err
		}
		verb := "removed"
		if request.DryRun {
			verb = "dry run: would remove"
		}
		_, err = fmt.Fprintf(out, "%s %s, %d left\n", verb, count(removed.Removed, "ban"), removed.Total)
		return removed, err
	})
	cmd.Flags().StringVar(&request.Source, "source", "", "the bans of this feed; operator for those set by hand")
	cmd.Flags().BoolVar(&request.All, "all", false, "all bans")
	cmd.Flags().BoolVar(&request.DryRun, "dry-run", false, "only count the bans")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 0 && request.All:
			return errors.New("--all cannot be combined with a prefix: remove one of them")
		case request.All && request.Source != "":
			return errors.New("--all cannot be combined with --source: remove one of them")
		case cmd.Flags().Changed("source") && request.Source == "":
			return errors.New("--source is empty: write a value")
		case len(args) == 0 && (request.All || request.Source != ""):
			return nil
		case len(args) == 0:
			return errors.New("nothing selects the bans to remove: name a prefix, --source NAME, or --all")
		}
		return onePrefix(args, &request.Prefix)
	}
	return cmd
}

func confirmUnban(ctx context.Context, c *client.Client, request admin.UnbanRequest, in io.Reader, out io.Writer) error {
	request.DryRun = true
	would, err := c.Unban(ctx, request)
	if err != nil || would.Removed <= 1 {
		return err
	}
	return confirm(ctx, in, out, fmt.Sprintf("Remove %s?", count(would.Removed, "ban")), errNotUnbanned)
}
