package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/term"
)

// bansLimit is how many bans are shown unless more are asked for.
const bansLimit = 100

func newBansCommand() *cobra.Command {
	var query admin.BanQuery
	limit, all := bansLimit, false
	cmd := &cobra.Command{
		Use:   "bans",
		Short: "List the banned addresses",
		Long: "List the banned addresses and prefixes of a running proxy, in the order of the addresses.\n\n" +
			"'l4proxy bans sync' feeds it with the decisions of CrowdSec.",
		Example: "  l4proxy bans\n" +
			"  l4proxy bans --from 203.0.113.7\n" +
			"  l4proxy bans --source crowdsec --all --json",
	}
	newAdminCommand(cmd, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		page, err := banPages(ctx, c, query, limit, all)
		if err != nil {
			return nil, err
		}
		return page, printBans(out, page)
	})
	cmd.Flags().Var(&query.From, "from", "bans that contain this address or prefix, or lie in it")
	cmd.Flags().StringVar(&query.Reason, "reason", "", "bans with this text in their reason")
	cmd.Flags().StringVar(&query.Source, "source", "", "bans of this feed; operator for those set by hand")
	cmd.Flags().IntVar(&limit, "limit", bansLimit, "how many to show")
	cmd.Flags().BoolVar(&all, "all", false, "show all of them")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case limit < 1:
			return fmt.Errorf("--limit %d: write a number from 1 on", limit)
		case all && cmd.Flags().Changed("limit"):
			return errors.New("--all and --limit contradict each other: write one of them")
		}
		return noArguments(cmd, args)
	}
	cmd.AddCommand(newBansSyncCommand())
	return cmd
}

// banPages asks for pages until limit bans are there, or all of them.
func banPages(ctx context.Context, c *client.Client, q admin.BanQuery, limit int, all bool) (*admin.BanPage, error) {
	var whole *admin.BanPage
	for {
		q.Limit = admin.MaxBanLimit
		if !all {
			missing := limit
			if whole != nil {
				missing -= len(whole.Bans)
			}
			q.Limit = min(missing, admin.MaxBanLimit)
		}
		page, err := c.Bans(ctx, q)
		if err != nil {
			return nil, err
		}
		if whole != nil {
			page.Bans = append(whole.Bans, page.Bans...)
		}
		whole = page
		if page.Next == "" || !all && len(page.Bans) >= limit {
			return whole, nil
		}
		if q.After, err = admin.ParsePrefix(page.Next); err != nil {
			return nil, fmt.Errorf("next of a page is %q, which is no prefix", page.Next)
		}
	}
}

// printBans writes a table for people.
func printBans(w io.Writer, page *admin.BanPage) error {
	var b strings.Builder
	if len(page.Bans) > 0 {
		table := term.NewTable(term.Text("PREFIX"), term.Number("LEFT"), term.Number("AGE").Optional(2), term.Text("WITH").Optional(3),
			term.Text("SOURCE").Optional(1), term.Text("REASON").Short(20))
		now := time.Now()
		for i := range page.Bans {
			ban := &page.Bans[i]
			left := "-"
			if ban.Until != nil {
				left = term.Seconds(ban.Left)
			}
			table.Row(ban.Prefix.String(), left, term.Seconds(max(0, now.Sub(ban.Since).Seconds())), ban.With, ban.Source, ban.Reason)
		}
		b.WriteString(table.Render(screenOf(w)))
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%d of %s", page.Matched, count(page.Total, "ban"))
	if shown := len(page.Bans); shown < page.Matched && page.Next != "" {
		fmt.Fprintf(&b, ", %d shown: --all shows all of them, --limit more", shown)
	}
	b.WriteString("\n")
	switch {
	case page.Error != "":
		fmt.Fprintf(&b, "warning: not saved: a restart loses the latest changes: %s\n", printable(page.Error))
	case page.File == "" && page.Total > 0:
		b.WriteString("not saved: a restart loses them; bans.file in the configuration saves them\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// completeBans offers the bans of the running proxy that begin with what has been typed.
func completeBans(cmd *cobra.Command, args []string, typed string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
	flags := adminFlags{address: flagValue(cmd, "admin"), config: flagValue(cmd, "config"), tokenFile: flagValue(cmd, "token-file")}
	c, err := flags.client(os.LookupEnv)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
	defer cancel()
	page, err := c.Bans(ctx, admin.BanQuery{Limit: admin.MaxLimit})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, ban := range page.Bans {
		if name := ban.Prefix.String(); strings.HasPrefix(name, typed) {
			all = append(all, cobra.CompletionWithDesc(name, term.Line(ban.Reason)))
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
