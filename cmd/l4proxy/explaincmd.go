package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
)

func newExplainCommand() *cobra.Command {
	var q admin.ExplainQuery
	var from string
	cmd := newAdminCommand(&cobra.Command{
		Use:   "explain",
		Short: "Explain what would happen to a client that connects now",
		Long: "Explain what would happen to a client that connects to a running proxy now: which ACL rule\n" +
			"decides, whether the limits have room, and which backends would be tried, in which order.\n" +
			"Nothing is dialed, and nothing changes.\n\n" +
			"--listener may be left out if there is only one. A client of a unix socket has no --from.",
		Example: "  l4proxy explain --listener web --from 10.1.2.3",
	}, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		if from != "" {
			var err error
			if q.From, err = netip.ParseAddr(from); err != nil {
				return nil, fmt.Errorf("--from %s is not an IP address: write one such as 10.1.2.3", from)
			}
		}
		answer, err := c.Explain(ctx, q)
		if err != nil {
			return nil, err
		}
		return answer, printExplain(out, answer)
	})
	cmd.Flags().StringVar(&q.Listener, "listener", "", "name of the listener (default: the only one)")
	cmd.Flags().StringVar(&from, "from", "", "address of the client, such as 10.1.2.3")
	cmd.Flags().StringVar(&q.SNI, "sni", "", "server name that a TLS client asks for")
	return cmd
}

// printExplain writes an explanation for people.
func printExplain(w io.Writer, e *admin.Explain) error {
	var b strings.Builder
	for _, line := range e.Text {
		fmt.Fprintln(&b, printable(line))
	}
	if e.ACL.Allowed && len(e.Backends) > 0 {
		table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(table, "\nTURN\tBACKEND\tSTATE\tSCORE\tCONNECTIONS\tLIMIT\tWEIGHT\tREASON\n")
		for _, backend := range e.Backends {
			turn, score := "-", "-"
			if backend.Turn > 0 {
				turn = fmt.Sprint(backend.Turn)
			}
			if backend.Score != nil {
				score = fmt.Sprintf("%.4g", *backend.Score)
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%d\t%s\n", turn, printable(backend.Address), backend.State, score,
				backend.Connections, limitText(int64(backend.MaxConnections)), backend.Weight, printable(backend.Reason))
		}
		_ = table.Flush() // into memory
	}
	if e.ACL.Allowed && e.Omitted > 0 {
		fmt.Fprintf(&b, "and %d more\n", e.Omitted)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
