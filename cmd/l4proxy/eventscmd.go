package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/events"
)

// mostEvents is the most events that the proxy has.
const mostEvents = 1000

// eventLevels are those of events, the least first.
var eventLevels = []string{"info", "warn", "error"}

func newEventsCommand() *cobra.Command {
	var query admin.EventQuery
	var follow bool
	var since time.Duration
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what has changed in a running proxy, or follow it",
		Long: "Show the latest events of a running proxy: backends that went down or came back, reloads, drains,\n" +
			"upgrades, limits that were reached, and how many clients were denied or not served. The proxy keeps\n" +
			"the last 1000, whatever log.level is.\n\n" +
			"--follow prints events as they happen, until Ctrl-C, even across restarts and upgrades.\n" +
			"With --json, it prints one object per line.",
		Example: "  l4proxy events --level warn --since 1h\n" +
			"  l4proxy events --follow --type backend_down,backend_up",
	}
	newAdminCommand(cmd, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		var from time.Time
		if since > 0 {
			from = time.Now().Add(-since)
			query.Limit = cmp.Or(query.Limit, mostEvents)
		}
		list, err := c.Events(ctx, query)
		if err != nil {
			return nil, err
		}
		list.Events = slices.DeleteFunc(list.Events, func(e admin.Event) bool { return e.Time.Before(from) })
		for i := range list.Events {
			fmt.Fprintln(out, printable(describeEvent(&list.Events[i])))
		}
		if !follow {
			if len(list.Events) == 0 {
				fmt.Fprintln(out, "no events")
			}
			return list, nil
		}
		query.After = list.Last
		return nil, followEvents(ctx, c, query, list.Events, out, cmd)
	})
	flags := cmd.Flags()
	flags.BoolVarP(&follow, "follow", "f", false, "print events as they happen")
	flags.DurationVar(&since, "since", 0, "only events that are at most this old, such as 10m")
	flags.Uint64Var(&query.After, "after", 0, "only events after the one with this ID")
	flags.IntVar(&query.Limit, "limit", 0, "the most events to print, 1 to 1000 (default 100)")
	flags.StringVar(&query.Type, "type", "", "only these `TYPES`, separated by commas, such as backend_down,backend_up")
	flags.StringVar(&query.Level, "level", "", "only events of this `LEVEL` or a higher one: info, warn or error")
	_ = cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions(eventLevels, cobra.ShellCompDirectiveNoFileComp))
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case flags.Changed("limit") && (query.Limit < 1 || query.Limit > mostEvents):
			return fmt.Errorf("--limit: write a number from 1 to %d", mostEvents)
		case flags.Changed("since") && since <= 0:
			return errors.New("--since: write a duration such as 10m")
		case flags.Changed("level") && !slices.Contains(eventLevels, query.Level):
			return fmt.Errorf("--level: write %s", strings.Join(eventLevels, ", "))
		}
		if flags.Changed("type") {
			for kind := range strings.SplitSeq(query.Type, ",") {
				if !slices.Contains(eventTypes(), kind) {
					return fmt.Errorf("--type: %q is not a type of events: docs/api.md lists them", kind)
				}
			}
		}
		return noArguments(cmd, args)
	}
	return cmd
}

// eventTypes are all types of events, in order.
func eventTypes() []string {
	all := slices.AppendSeq([]string{events.Other, events.Denied, events.Failed}, maps.Values(events.Types()))
	slices.Sort(all)
	return slices.Compact(all)
}

// followEvents prints events as they happen, after those that were printed.
func followEvents(ctx context.Context, c *client.Client, query admin.EventQuery, printed []admin.Event, out io.Writer, cmd *cobra.Command) error {
	asJSON := cmd.Flag("json").Value.String() == "true"
	lines := json.NewEncoder(cmd.OutOrStdout())
	lines.SetEscapeHTML(false)
	if asJSON {
		for i := range printed {
			if err := lines.Encode(&printed[i]); err != nil {
				return err
			}
		}
	}
	err := c.Follow(ctx, query, func(m admin.StreamMessage) error {
		switch {
		case m.Gap != nil && !asJSON:
			_, err := fmt.Fprintf(out, "(%d events are missing)\n", m.Gap.Missed)
			return err
		case m.Event == nil:
			return nil
		case asJSON:
			return lines.Encode(m.Event)
		}
		_, err := fmt.Fprintln(out, printable(describeEvent(m.Event)))
		return err
	}, func(err error) { fmt.Fprintf(cmd.ErrOrStderr(), "l4proxy: reconnecting: %s\n", printable(err.Error())) })
	return err // nil after Ctrl-C
}

// describeEvent is an event on one line.
func describeEvent(e *admin.Event) string {
	text := fmt.Sprintf("%s %-5s %s", e.Time.Local().Format("2006-01-02 15:04:05"), e.Level, e.Message)
	for _, part := range [][2]string{{"listener", e.Listener}, {"pool", e.Pool}, {"backend", e.Backend}} {
		if part[1] != "" {
			text += " " + part[0] + "=" + part[1]
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e.Details)) {
		value := fmt.Sprint(e.Details[key])
		if number, ok := e.Details[key].(float64); ok && number == float64(int64(number)) {
			value = fmt.Sprint(int64(number))
		}
		if strings.ContainsAny(value, " \n") || value == "" {
			value = fmt.Sprintf("%q", value)
		}
		text += " " + key + "=" + value
	}
	return text
}
