package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/term"
)

func newExplainCommand() *cobra.Command {
	var q admin.ExplainQuery
	var from string
	var tls bool
	cmd := newAdminCommand(&cobra.Command{
		Use:   "explain",
		Short: "Explain what would happen to a client that connects now",
		Long: "Explain what would happen to a client that connects to a running proxy now: which ACL rule\n" +
			"decides, whether the limits have room, which route takes it, and which backends would be tried, in\n" +
			"which order. Nothing is dialed, and nothing changes.\n\n" +
			"--listener may be left out if there is only one. A client of a unix socket has no --from.\n" +
			"--sni, --alpn and --tls matter for a listener with routes: they say what the client sends first.\n" +
			"Without them, it is a TLS client that names no server and offers no protocols.",
		Example: "  l4proxy explain --listener web --from 10.1.2.3\n" +
			"  l4proxy explain --listener tls --from 10.1.2.3 --sni www.example.com --alpn h2,http/1.1",
	}, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		answer, err := c.Explain(ctx, q)
		if err != nil {
			return nil, err
		}
		return answer, printExplain(out, answer)
	})
	cmd.Flags().StringVar(&q.Listener, "listener", "", "name of the listener (default: the only one)")
	cmd.Flags().StringVar(&from, "from", "", "`ADDRESS` of the client, such as 10.1.2.3")
	cmd.Flags().StringVar(&q.SNI, "sni", "", "server `NAME` that the client asks for in its ClientHello")
	cmd.Flags().StringVar(&q.ALPN, "alpn", "", "`PROTOCOLS` that the client offers in its ClientHello, separated by commas")
	cmd.Flags().BoolVar(&tls, "tls", true, "whether the client speaks TLS")
	cmd.Args = func(cmd *cobra.Command, args []string) (err error) {
		if cmd.Flags().Changed("from") {
			if q.From, err = netip.ParseAddr(from); err != nil {
				return fmt.Errorf("--from %s is not an IP address: write one such as 10.1.2.3", from)
			}
		}
		if cmd.Flags().Changed("tls") {
			q.TLS = &tls
		}
		return noArguments(cmd, args)
	}
	return cmd
}

// printExplain writes an explanation for people.
func printExplain(w io.Writer, e *admin.Explain) error {
	var b strings.Builder
	for _, line := range e.Text {
		fmt.Fprintln(&b, printable(line))
	}
	if e.ACL.Allowed && len(e.Backends) > 0 {
		table := term.NewTable(term.Number("TURN"), term.Text("BACKEND").Short(15), term.Text("STATE"), term.Number("SCORE"),
			term.Number("CONNECTIONS"), term.Number("LIMIT"), term.Number("WEIGHT"), term.Text("REASON"))
		for _, backend := range e.Backends {
			turn, score := "-", "-"
			if backend.Turn > 0 {
				turn = fmt.Sprint(backend.Turn)
			}
			if backend.Score != nil {
				score = fmt.Sprintf("%.4g", *backend.Score)
			}
			table.Row(turn, backend.Address, term.State(backend.State), score,
				backend.Connections, limitText(int64(backend.MaxConnections)), backend.Weight, backend.Reason)
		}
		b.WriteString("\n" + table.Render(screenOf(w)))
	}
	if e.ACL.Allowed && e.Omitted > 0 {
		fmt.Fprintf(&b, "and %d more\n", e.Omitted)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
