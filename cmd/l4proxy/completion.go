package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"l4proxy/admin"
	"l4proxy/internal/term"
)

// completionTimeout is how long the shell waits for a proxy that does not answer.
const completionTimeout = 500 * time.Millisecond

// completer offers values that begin with what has been typed.
type completer func(cmd *cobra.Command, typed string) ([]cobra.Completion, cobra.ShellCompDirective)

// completers are the completions of flags, by their name, on every command. A flag that is missing
// here offers nothing, or files if its value is a path.
var completers = map[string]completer{
	"config":     extensions("yaml", "yml", "json"),
	"token-file": files,
	"binary":     files,
	"pid-file":   files,

	"listener": names(offerListeners),
	"pool":     names(offerPools),
	"backend":  names(offerBackends),

	"level": words(logLevels...),
	"sort":  words(admin.Sorts...),
	"type":  offerEventTypes,
	"state": words(admin.BackendUp, admin.BackendDrain, admin.BackendDown),
}

// addCompletions gives the flags and arguments of all commands their completions. Without one, a
// shell offers files, and few of our commands take a file.
func addCompletions(root *cobra.Command) {
	for _, cmd := range append(root.Commands(), root) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if _, own := cmd.GetFlagCompletionFunc(f.Name); own || f.Value.Type() == "bool" {
				return
			}
			complete := completers[f.Name]
			if complete == nil {
				complete = words()
			}
			_ = cmd.RegisterFlagCompletionFunc(f.Name, // fails only if there is one already
				func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
					return complete(cmd, typed)
				})
		})
		if cmd.ValidArgsFunction == nil && cmd.ValidArgs == nil {
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
}

// offerEventTypes completes the last of several types.
func offerEventTypes(_ *cobra.Command, typed string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
	before := typed[:strings.LastIndexByte(typed, ',')+1]
	for _, kind := range eventTypes() {
		all = append(all, before+kind)
	}
	return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func files(*cobra.Command, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

func extensions(all ...string) completer {
	return func(*cobra.Command, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return all, cobra.ShellCompDirectiveFilterFileExt
	}
}

func words(all ...string) completer {
	return func(*cobra.Command, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// offer is something with a name, and what a shell may say about it.
type offer struct{ name, about string }

// names offers names of the running proxy, or else of the configuration. It never fails: a shell
// that completes shows no errors.
func names(of func(*admin.Status, *cobra.Command) []offer) completer {
	return func(cmd *cobra.Command, typed string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
		status := completionStatus(cmd)
		if status == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, n := range of(status, cmd) {
			// A name that needs quoting, or that would be more than one line here, is left out.
			if !strings.HasPrefix(n.name, typed) || strings.ContainsAny(n.name, "\t\n") || term.Printable(n.name) != n.name {
				continue
			}
			all = append(all, cobra.CompletionWithDesc(n.name, term.Line(n.about)))
		}
		return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

func offerListeners(s *admin.Status, _ *cobra.Command) (all []offer) {
	for _, l := range s.Listeners {
		all = append(all, offer{l.Name, strings.TrimPrefix(l.State+", "+firstAddress(l.Addresses), ", ")})
	}
	return all
}

// offerPools are those that have the backend that the command line names, if it names one.
func offerPools(s *admin.Status, cmd *cobra.Command) (all []offer) {
	backend := flagValue(cmd, "backend")
	for _, p := range s.Pools {
		if backend == "" || slices.ContainsFunc(p.Backends, func(b admin.BackendStatus) bool { return b.Address == backend || b.Resolved == backend }) {
			all = append(all, offer{p.Name, term.Count(len(p.Backends), "backend")})
		}
	}
	return all
}

// offerBackends are those of the pool that the command line names, if it names one.
func offerBackends(s *admin.Status, cmd *cobra.Command) (all []offer) {
	pool := flagValue(cmd, "pool")
	seen := make(map[string]bool)
	for _, p := range s.Pools {
		if pool != "" && p.Name != pool {
			continue
		}
		for _, b := range p.Backends {
			if !seen[b.Address] {
				seen[b.Address] = true
				all = append(all, offer{b.Address, strings.TrimPrefix(b.State+", pool "+p.Name, ", ")})
			}
		}
	}
	return all
}

func flagValue(cmd *cobra.Command, name string) string {
	if f := cmd.Flags().Lookup(name); f != nil {
		return f.Value.String()
	}
	return ""
}

// completionStatus is the status of the proxy that the command line, the environment or the
// configuration names; without an answer, what the configuration says of it; else nil.
func completionStatus(cmd *cobra.Command) *admin.Status {
	flags := adminFlags{address: flagValue(cmd, "admin"), config: flagValue(cmd, "config"), tokenFile: flagValue(cmd, "token-file")}
	if status, err := flags.quickStatus(); err == nil {
		return status
	}
	return configuredStatus(flags.config, os.LookupEnv)
}

func (f *adminFlags) quickStatus() (*admin.Status, error) {
	c, err := f.client(os.LookupEnv)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), completionTimeout, errors.New("too late for a completion"))
	defer cancel()
	return c.Status(ctx)
}
