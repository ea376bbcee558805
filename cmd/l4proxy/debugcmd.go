package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/term"
)

// logLevels are those of log.level.
var logLevels = []string{"debug", "info", "warn", "error"}

func newDebugCommand() *cobra.Command {
	var q admin.DebugRequest
	var duration time.Duration
	cmd := &cobra.Command{
		Use:   "debug",
		Short: "Follow the connections of a client in the log, or change the log level",
		Long: "Have a running proxy log each step of some connections, whatever its log level:\n" +
			"  --from ADDRESS     those of a client, or of a prefix such as 10.1.0.0/16\n" +
			"  --listener NAME    those of a listener\n\n" +
			"or change the log level of the whole proxy:\n" +
			"  --level debug      one of debug, info, warn, error; with debug, all connections are followed\n\n" +
			"It lasts for the time of --for. Without --for, a trace ends after 5 minutes, and a level stays\n" +
			"until --stop or a restart. --stop ends everything, or only the trace that --from and --listener\n" +
			"name. Without flags, the command shows what is in effect.",
		Example: "  l4proxy debug --from 10.1.2.3 --for 5m\n" +
			"  l4proxy debug --level debug --for 1m\n" +
			"  l4proxy debug --stop",
	}
	newAdminCommand(cmd, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		var answer *admin.Debug
		var err error
		q.For = admin.Duration(duration)
		if q == (admin.DebugRequest{}) {
			answer, err = c.Debug(ctx)
		} else {
			answer, err = c.SetDebug(ctx, q)
		}
		if err != nil {
			return nil, err
		}
		return answer, printDebug(out, answer, time.Now())
	})
	flags := cmd.Flags()
	flags.StringVar(&q.Level, "level", "", "log `LEVEL`: debug, info, warn or error")
	flags.StringVar(&q.Listener, "listener", "", "trace connections of this listener")
	flags.Var(&q.From, "from", "trace connections from this address or `PREFIX`")
	flags.DurationVar(&duration, "for", 0, "how long, such as 10m; 24h at most")
	flags.BoolVar(&q.Stop, "stop", false, "end the traces, and return to the configured level")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		for _, name := range []string{"level", "listener", "from"} {
			if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
				return fmt.Errorf("--%s is empty: write a value", name)
			}
		}
		traces := q.Listener != "" || q.From.IsValid()
		switch {
		case q.Level != "" && (traces || q.Stop):
			return errors.New("--level is for the whole proxy: it cannot be combined with --from, --listener or --stop")
		case q.Stop && cmd.Flags().Changed("for"):
			return errors.New("--stop cannot be combined with --for")
		case cmd.Flags().Changed("for") && q.Level == "" && !traces:
			return errors.New("--for requires --from, --listener or --level")
		case cmd.Flags().Changed("for") && (duration <= 0 || duration > debugMost):
			return errors.New("--for: write a duration such as 10m, up to 24h")
		case q.Level != "" && !slices.Contains(logLevels, q.Level):
			return fmt.Errorf("--level: write %s", strings.Join(logLevels, ", "))
		}
		return noArguments(cmd, args)
	}
	return cmd
}

// printDebug writes for people what is logged.
func printDebug(w io.Writer, d *admin.Debug, now time.Time) error {
	var b strings.Builder
	fmt.Fprintf(&b, "log level: %s", d.Level)
	switch {
	case d.LevelUntil != nil:
		fmt.Fprintf(&b, " for %s more, then %s as configured\n", ago(d.LevelUntil.Sub(now)), d.Configured)
	case d.LevelSet:
		fmt.Fprintf(&b, ", set by an operator; %s is configured\n", d.Configured)
	default:
		fmt.Fprintf(&b, ", as configured\n")
	}
	if len(d.Traces) == 0 {
		fmt.Fprintf(&b, "no traces\n")
	} else {
		table := term.NewTable(term.Text("TRACE FROM"), term.Text("LISTENER").Short(12), term.Number("ENDS IN"),
			term.Number("CONNECTIONS"), term.Number("LEFT OUT"))
		for _, t := range d.Traces {
			from, listener := "any", "any"
			if t.From.IsValid() {
				from = t.From.String()
			}
			if t.Listener != "" {
				listener = t.Listener
			}
			table.Row(from, listener, ago(t.Until.Sub(now)), t.Connections, t.LeftOut)
		}
		b.WriteString("\n" + table.Render(screenOf(w)))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
