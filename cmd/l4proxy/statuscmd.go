package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/term"
)

func newStatusCommand() *cobra.Command {
	var rules bool
	cmd := newAdminCommand(&cobra.Command{
		Use:   "status",
		Short: "Show how a running proxy is doing, problems first",
		Long: "Show how a running proxy is doing: first what needs attention, then its listeners and its\n" +
			"backends with their states. 'l4proxy top' shows the same live. --rules adds the rules of the\n" +
			"access control lists with what they have counted.",
		Example: "  l4proxy status\n" +
			"  l4proxy status --rules\n" +
			"  l4proxy status --admin unix:/run/l4proxy/admin.sock\n" +
			"  l4proxy status --json | jq '.pools[].backends[] | select(.state != \"up\")'",
	}, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		status, err := c.Status(ctx)
		if err != nil {
			return nil, err
		}
		if err := printStatus(out, status, time.Now()); err != nil || !rules {
			return status, err
		}
		_, err = io.WriteString(out, "\n"+ruleTable(status, time.Now()).Render(screenOf(out)))
		return status, err
	})
	cmd.Flags().BoolVar(&rules, "rules", false, "show the rules of the access control lists, with their hits")
	return cmd
}

// printStatus writes a status for people.
func printStatus(w io.Writer, s *admin.Status, now time.Time) error {
	var b strings.Builder
	screen := screenOf(w)
	state := screen.Paint(term.Good, "ready")
	if !s.Ready {
		state = screen.Paint(term.Bad, "not ready: "+printable(s.NotReady))
	}
	fmt.Fprintf(&b, "l4proxy %s, pid %d, up %s, %s\n", s.Version, s.PID, ago(now.Sub(s.Started)), state)
	fmt.Fprintf(&b, "%s on %s, %s of at most %d\n", s.Engine, count(s.Workers, "event loop"), count(s.Connections, "connection"), s.MaxConnections)
	fmt.Fprintf(&b, "configuration: %s, generation %d, in effect for %s\n", orEnvironment(s.Config.File), s.Config.Generation, ago(now.Sub(s.Config.AppliedAt)))
	if found := problemsOf(s, now); len(found) > 0 {
		fmt.Fprintf(&b, "\n")
		for _, p := range found {
			fmt.Fprintf(&b, "%s %s\n", screen.Paint(problemTone(p.Level), "!"), printable(p.Text))
		}
	}
	b.WriteString("\n" + listenerTable(s).Render(screen))
	b.WriteString("\n" + poolTable(s, now).Render(screen))
	for _, table := range limitTables(s) {
		b.WriteString("\n" + table.Render(screen))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// problemsOf are the problems of a status. An older proxy leaves it to its client to find them.
func problemsOf(s *admin.Status, now time.Time) []admin.Problem {
	if s.Problems == nil {
		return statusProblems(s, now)
	}
	return s.Problems
}

func problemTone(level string) term.Tone {
	switch level {
	case urgent:
		return term.Bad
	case warning:
		return term.Warn
	}
	return term.Plain
}

func listenerTable(s *admin.Status) *term.Table {
	table := term.NewTable(term.Text("LISTENER").Short(12), term.Text("ADDRESS").Short(12), term.Text("POOL").Short(12), term.Text("STATE"),
		term.Number("CONNECTIONS"), term.Number("LIMIT"))
	for _, l := range s.Listeners {
		table.Row(l.Name, firstAddress(l.Addresses), strings.Join(l.Pools(), ", "), term.State(l.State), l.Connections, limitText(l.MaxConnections))
	}
	return table
}

func poolTable(s *admin.Status, now time.Time) *term.Table {
	table := term.NewTable(term.Text("POOL").Short(12), term.Text("BACKEND").Short(12), term.Text("STATE"), term.Number("FOR"),
		term.Number("CONNECTIONS"), term.Number("LIMIT"), term.Number("WEIGHT"), term.Number("TOTAL"), term.Number("FAILED"))
	for _, p := range s.Pools {
		for i := range p.Backends {
			b := &p.Backends[i]
			since := "-"
			if b.Since != nil {
				since = ago(now.Sub(*b.Since))
			}
			table.Row(p.Name, backendName(b), term.State(b.State), since, b.Connections, limitText(int64(b.MaxConnections)), b.Weight, b.Total, b.FailedDials)
		}
	}
	return table
}

func ruleTable(s *admin.Status, now time.Time) *term.Table {
	table := term.NewTable(term.Text("LISTENER").Short(12), term.Text("RULE").Short(12), term.Text("CLIENTS").Short(12), term.Text("ACTION"),
		term.Number("PREFIXES"), term.Number("HITS"), term.Number("LAST HIT"))
	for _, l := range s.Listeners {
		for _, r := range l.Rules {
			action, last := r.Action, "-"
			if r.Shadow {
				action += ", shadow"
			}
			if r.LastHit != nil {
				last = ago(now.Sub(*r.LastHit)) + " ago"
			}
			table.Row(l.Name, r.Name, r.Clients, action, r.Prefixes, r.Hits, last)
		}
	}
	return table
}

func backendName(b *admin.BackendStatus) string {
	name := b.Address
	if b.Resolved != "" {
		name += " (" + b.Resolved + ")"
	}
	if b.Backup {
		name += ", backup"
	}
	return name
}

func orEnvironment(file string) string {
	if file == "" {
		return "environment"
	}
	return printable(file)
}

func firstAddress(addresses []string) string {
	switch len(addresses) {
	case 0:
		return "-"
	case 1:
		return addresses[0]
	}
	return fmt.Sprintf("%s and %d more", addresses[0], len(addresses)-1)
}

func limitText(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
