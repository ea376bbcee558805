package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/term"
	"l4proxy/top"
)

const (
	topInterval = time.Second
	// leastTopInterval bounds what a view costs the proxy.
	leastTopInterval = 100 * time.Millisecond
)

func newTopCommand() *cobra.Command {
	var interval time.Duration
	var count int
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch listeners, pools, backends and connections live",
		Long: "Watch a running proxy live: problems first, then listeners, pools, backends or the busiest\n" +
			"connections (keys 1 to 4), with rates per second. '/' filters, 's' sorts, enter shows what belongs\n" +
			"to a line, 'd' drains a listener or a backend, 'x' ends a connection, '?' lists all keys.\n\n" +
			"With --json, top needs no terminal: it prints one JSON object per line and interval.",
		Example: "  l4proxy top\n" +
			"  l4proxy top --interval 5s --admin unix:/run/l4proxy/admin.sock\n" +
			"  l4proxy top --json --count 1",
	}
	newAdminCommand(cmd, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		if cmd.Flag("json").Value.String() == "true" {
			encoder := json.NewEncoder(cmd.OutOrStdout())
			encoder.SetEscapeHTML(false)
			return nil, top.Stream(ctx, c, interval, count, func(s *top.Snapshot) error { return encoder.Encode(s) })
		}
		return nil, showTop(ctx, c, interval, cmd.InOrStdin(), out)
	})
	cmd.Flags().DurationVar(&interval, "interval", topInterval, "time between two updates")
	cmd.Flags().IntVar(&count, "count", 0, "with --json, the number of lines to print; 0 is no limit")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case interval < leastTopInterval:
			return errors.New("--interval: write 100ms or more")
		case count < 0 || count > 0 && cmd.Flag("json").Value.String() != "true":
			return errors.New("--count requires --json and a positive number")
		}
		return noArguments(cmd, args)
	}
	return cmd
}

// showTop shows the live view.
func showTop(ctx context.Context, c *client.Client, interval time.Duration, in io.Reader, out io.Writer) error {
	keyboard, ok := in.(*os.File)
	screen, also := out.(*os.File)
	if !ok || !also || !term.IsTerminal(keyboard) || !term.IsTerminal(screen) {
		return errors.New("top needs a terminal: use 'l4proxy status', or 'l4proxy top --json' for programs")
	}
	if kind := os.Getenv("TERM"); kind == "" || kind == "dumb" {
		return errors.New("top needs a terminal that can move its cursor (TERM is not set, or dumb): use 'l4proxy status'")
	}
	if _, err := c.Status(ctx); err != nil { // an error can be read better without the view
		return err
	}
	return top.Show(ctx, c, top.Options{
		Address:  c.Address(),
		Interval: interval,
		Problems: topProblems,
		Describe: describeDrain,
		Explain:  func(err error) error { return explainAdmin(c, err) },
		Color:    screenOf(screen).Color,
	}, keyboard, screen)
}

func topProblems(s *admin.Status, now time.Time) (all []top.Problem) {
	for _, p := range problemsOf(s, now) {
		all = append(all, top.Problem{Text: p.Text, Tone: problemTone(p.Level)})
	}
	return all
}
