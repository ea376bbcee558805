package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
)

func newStatusCommand() *cobra.Command {
	return newAdminCommand(&cobra.Command{
		Use:   "status",
		Short: "Show how a running proxy is doing, problems first",
	}, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		status, err := c.Status(ctx)
		if err != nil {
			return nil, err
		}
		return status, printStatus(out, status, time.Now())
	})
}

// printStatus writes a status for people.
func printStatus(w io.Writer, s *admin.Status, now time.Time) error {
	var b strings.Builder
	state := "ready"
	if !s.Ready {
		state = "not ready: " + s.NotReady
	}
	fmt.Fprintf(&b, "l4proxy %s, pid %d, up %s, %s\n", s.Version, s.PID, ago(now.Sub(s.Started)), state)
	fmt.Fprintf(&b, "%s on %s, %s of at most %d\n", s.Engine, count(s.Workers, "event loop"), count(s.Connections, "connection"), s.MaxConnections)
	fmt.Fprintf(&b, "configuration: %s, generation %d, in effect for %s\n", orEnvironment(s.Config.File), s.Config.Generation, ago(now.Sub(s.Config.AppliedAt)))
	if found := statusProblems(s, now); len(found) > 0 {
		fmt.Fprintf(&b, "\n")
		for _, p := range found {
			fmt.Fprintf(&b, "! %s\n", printable(p))
		}
	}
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "\nLISTENER\tADDRESS\tPOOL\tSTATE\tCONNECTIONS\tLIMIT\n")
	for _, l := range s.Listeners {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n", printable(l.Name), printable(firstAddress(l.Addresses)), printable(l.Pool), l.State, l.Connections, limitText(l.MaxConnections))
	}
	_ = table.Flush() // into memory
	table = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "\nPOOL\tBACKEND\tSTATE\tFOR\tCONNECTIONS\tLIMIT\tWEIGHT\tTOTAL\tFAILED\n")
	for _, p := range s.Pools {
		for _, backend := range p.Backends {
			since := "-"
			if backend.Since != nil {
				since = ago(now.Sub(*backend.Since))
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%d\t%d\t%d\n", printable(p.Name), printable(backendName(&backend)), backend.State, since,
				backend.Connections, limitText(int64(backend.MaxConnections)), backend.Weight, backend.Total, backend.FailedDials)
		}
	}
	_ = table.Flush()
	_, err := io.WriteString(w, b.String())
	return err
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

// ago is a period as people say it: two units at most.
func ago(d time.Duration) string {
	d = max(d, 0)
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

// printable replaces what could control a terminal: errors may repeat what a server has sent.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}
