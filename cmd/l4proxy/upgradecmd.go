package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
)

func newUpgradeCommand() *cobra.Command {
	var binary string
	cmd := newAdminCommand(&cobra.Command{
		Use:   "upgrade",
		Short: "Upgrade a running proxy to a new binary, keeping all its connections",
		Long: "Replace a running proxy with a new process, as SIGUSR2 does. The new process checks its\n" +
			"configuration, then takes over the listening sockets and the live connections. If anything fails,\n" +
			"the old process keeps serving.",
		Example: "  l4proxy upgrade\n" +
			"  l4proxy upgrade --binary /usr/local/bin/l4proxy.new",
	}, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		q := admin.UpgradeRequest{Binary: binary}
		if binary != "" {
			path, err := filepath.Abs(binary)
			if err != nil {
				return nil, err
			}
			q.Binary = path
		}
		answer, err := c.Upgrade(ctx, q)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(out, "upgraded: l4proxy %s serves with pid %d; %s moved, %d left with the old process\n", printable(answer.Version), answer.PID,
			count(answer.Moved, "connection"), answer.Left)
		return answer, nil
	})
	cmd.Flags().StringVar(&binary, "binary", "", "the new binary (default: the file that the proxy was started from)")
	return cmd
}
