package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
)

func newReloadCommand() *cobra.Command {
	var dryRun, keep, rollback bool
	var confirm time.Duration
	var guard guardFlag
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Reload the configuration of a running proxy",
		Long: "Reload the configuration of a running proxy, as SIGHUP does, and print what has changed.\n" +
			"A configuration with a problem is refused, and the running one stays in effect.\n\n" +
			"--confirm 60s rolls the change back after that time, unless 'l4proxy reload --keep' comes first.\n" +
			"--guard rolls it back as soon as the proxy serves clients worse than before.",
		Example: "  l4proxy reload --dry-run\n" +
			"  l4proxy reload --confirm 60s && l4proxy reload --keep\n" +
			"  l4proxy reload --guard=failed=5,unusable=30",
	}
	newAdminCommand(cmd, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		switch {
		case keep:
			return say(out, c.Keep(ctx), "kept: the running configuration is confirmed")
		case rollback:
			return say(out, c.Rollback(ctx), "rolled back: the file still has the change, and the next reload applies it again")
		}
		answer, err := c.Reload(ctx, admin.ReloadRequest{DryRun: dryRun, Confirm: admin.Duration(confirm), Guard: guard.Guard})
		if refused := new(admin.Error); errors.As(err, &refused) && refused.Status == http.StatusUnprocessableEntity {
			// Problems with their positions, as check prints them.
			fmt.Fprintln(cmd.ErrOrStderr(), printable(refused.Message))
			return refused, errReported
		}
		if err != nil {
			return nil, err
		}
		printReload(out, answer)
		return answer, nil
	})
	flags := cmd.Flags()
	flags.BoolVar(&dryRun, "dry-run", false, "change nothing, and print what would change")
	flags.DurationVar(&confirm, "confirm", 0, "roll back after this time, such as 60s, unless --keep comes first")
	flags.Var(&guard, "guard", "roll back if clients are served worse; margins such as failed=5,unusable=30,least=20 (percentage points; least: connections)")
	flags.Lookup("guard").NoOptDefVal = "default"
	flags.BoolVar(&keep, "keep", false, "confirm the running configuration")
	flags.BoolVar(&rollback, "rollback", false, "return to the last confirmed configuration")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		trial := confirm != 0 || guard.Guard != nil
		switch {
		case keep && rollback:
			return errors.New("--keep and --rollback: choose one")
		case (keep || rollback) && (dryRun || trial):
			return errors.New("--keep and --rollback cannot be combined with --dry-run, --confirm or --guard")
		case dryRun && trial:
			return errors.New("--dry-run changes nothing, so there is nothing to confirm or to guard")
		case confirm < 0:
			return errors.New("--confirm: write a duration such as 60s")
		}
		return noArguments(cmd, args)
	}
	return cmd
}

// plainAnswer is what --json prints for a command that has nothing to report.
type plainAnswer struct {
	OK bool `json:"ok"`
}

// say prints a line unless there is an error.
func say(w io.Writer, err error, line string) (any, error) {
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(w, line)
	return plainAnswer{true}, nil
}

func printReload(w io.Writer, r *admin.Reload) {
	verb := "reloaded"
	if r.DryRun {
		verb = "dry run, nothing is changed"
	}
	if len(r.Changes) == 0 {
		fmt.Fprintf(w, "%s: no changes (generation %d)\n", verb, r.Generation)
	} else {
		fmt.Fprintf(w, "%s: %s (generation %d)\n", verb, count(len(r.Changes), "change"), r.Generation)
	}
	for _, c := range r.Changes {
		fmt.Fprintf(w, "  %s\n", printable(c.Text))
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "warning: %s\n", printable(warning))
	}
	if u := r.Unconfirmed; u != nil {
		left := time.Until(u.Until).Round(time.Second)
		if u.KeepAfter {
			fmt.Fprintf(w, "guarded for %v: rolled back if clients are served worse, else kept\n", left)
		} else {
			fmt.Fprintf(w, "unconfirmed: rolled back in %v unless you run 'l4proxy reload --keep'\n", left)
		}
	}
}

// guardFlag is the value of --guard: nothing for the defaults, or margins.
type guardFlag struct{ *admin.Guard }

func (f *guardFlag) String() string { return "" }
func (f *guardFlag) Type() string   { return "margins" }

func (f *guardFlag) Set(text string) error {
	g := new(admin.Guard)
	f.Guard = g
	if text == "default" {
		return nil
	}
	margins := map[string]*int{"failed": &g.Failed, "unusable": &g.Unusable, "least": &g.Least}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		n, err := strconv.Atoi(strings.TrimSuffix(value, "%"))
		if margins[name] == nil || err != nil || n < 1 {
			return errors.New("write margins such as failed=5,unusable=30,least=20")
		}
		*margins[name] = n
	}
	return nil
}
