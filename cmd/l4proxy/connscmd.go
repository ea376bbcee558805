package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
)

// connsLimit is how many connections conns shows unless it is asked for more.
const connsLimit = 50

func newConnsCommand() *cobra.Command {
	var flags connFlags
	var query admin.ConnectionQuery
	limit, all := connsLimit, false
	cmd := &cobra.Command{
		Use:   "conns",
		Short: "List live connections",
		Long: "List the live connections of a running proxy that match the filters.\n\n" +
			"IN is from the client to the backend. The rates are per second. RTT and RETR (retransmitted\n" +
			"segments) show the client's side, then the backend's side.",
		Example: "  l4proxy conns --sort rate\n" +
			"  l4proxy conns --from 10.1.2.0/24 --older-than 1h\n" +
			"  l4proxy conns --backend 10.0.0.5:5432 --all --json",
	}
	newAdminCommand(cmd, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		page, err := connPages(ctx, c, query, limit, all)
		if err != nil {
			return nil, err
		}
		return page, printConns(out, page)
	})
	flags.add(cmd)
	cmd.Flags().StringVar(&query.Sort, "sort", admin.Sorts[0], strings.Join(admin.Sorts, ", ")+": the oldest, longest idle, largest or busiest first")
	cmd.Flags().IntVar(&limit, "limit", limit, "the most connections to show")
	cmd.Flags().BoolVar(&all, "all", false, "show all connections")
	cmd.Args = func(cmd *cobra.Command, args []string) (err error) {
		query.ConnectionFilter, err = flags.filter(cmd)
		switch {
		case err != nil:
			return err
		case !slices.Contains(admin.Sorts, query.Sort):
			return fmt.Errorf("--sort: write %s", strings.Join(admin.Sorts, ", "))
		case limit < 1:
			return fmt.Errorf("--limit: write a number above 0, or --all")
		}
		return noArguments(cmd, args)
	}
	return cmd
}

// connPages asks for pages until there are limit connections, or all of them.
func connPages(ctx context.Context, c *client.Client, query admin.ConnectionQuery, limit int, all bool) (*admin.ConnectionPage, error) {
	var total *admin.ConnectionPage
	for {
		query.Limit = admin.MaxLimit
		if !all {
			query.Limit = limit
			if total != nil {
				query.Limit -= len(total.Connections)
			}
			query.Limit = min(query.Limit, admin.MaxLimit)
		}
		page, err := c.Connections(ctx, query)
		if err != nil {
			return nil, err
		}
		if total == nil {
			total = page
		} else {
			total.Connections, total.Next = append(total.Connections, page.Connections...), page.Next
		}
		if query.After = page.Next; page.Next == "" || !all && len(total.Connections) >= limit {
			return total, nil
		}
	}
}
