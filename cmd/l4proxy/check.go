package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"l4proxy/config"
	"l4proxy/control"
)

// report is what `check --json` prints.
type report struct {
	OK bool `json:"ok"`
	// File is "" when the configuration came from the environment alone.
	File     string          `json:"file"`
	Problems config.Problems `json:"problems"`
	Warnings config.Problems `json:"warnings,omitempty"`
}

func newCheckCommand(file *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration and print every problem with its position",
		Long: "Validate the configuration without starting anything: it opens no port and resolves no name.\n" +
			"Every problem is one line on standard output: FILE:LINE:COL: what is wrong: what to write instead.\n" +
			"A configuration without problems is summarized, with the effective default of each access control list.",
		Example: "  l4proxy check -c config.yaml\n" +
			"  l4proxy check --json",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name := configFile(*file, os.LookupEnv)
			cfg, files, err := config.LoadFiles(name, os.LookupEnv)
			if err == nil {
				if faults := config.CheckAddresses(cfg, control.ThisMachine()); faults != nil {
					err = cfg.Locate(faults)
				} else {
					err = readableFor(cfg, files)
				}
			}
			var text string
			switch {
			case asJSON:
				text = reportJSON(name, cfg, err)
			case err != nil:
				text = err.Error() + "\n"
			default:
				text = strings.Join(describe(cfg), "\n") + "\n"
			}
			if _, err := fmt.Fprint(cmd.OutOrStdout(), text); err != nil {
				return failure{err}
			}
			if err != nil {
				return errReported
			}
			return nil
		},
	}
	addConfigFlag(cmd, file)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func reportJSON(name string, cfg *config.Config, err error) string {
	r := report{OK: err == nil, File: name, Problems: config.Problems{}}
	if err == nil {
		r.Warnings = cfg.Warnings
	} else {
		errors.As(err, &r.Problems) // all errors of config are Problems
	}
	var b strings.Builder
	out := json.NewEncoder(&b)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	_ = out.Encode(r) // strings and numbers into memory
	return b.String()
}

// describe lists what is configured, with the effective default of each ACL, which depends on its
// rules.
func describe(cfg *config.Config) []string {
	lines := []string{source(cfg) + ": ok"}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		lines = append(lines, fmt.Sprintf("  listener %s on %s -> %s; %s",
			l.Name, describeBinds(l.Binds), l.Serves(), describeACL(l.ACL)))
	}
	for i := range cfg.Pools {
		lines = append(lines, "  "+describePool(&cfg.Pools[i]))
	}
	for _, w := range cfg.Warnings {
		lines = append(lines, "warning: "+w.Error())
	}
	return lines
}

// describePool summarizes the backends of a pool, and what happens when one fails.
func describePool(p *config.Pool) string {
	backups, down, names := 0, 0, 0
	for i := range p.Backends {
		switch b := &p.Backends[i]; {
		case b.Down:
			down++
		case b.Backup:
			backups++
		case b.Address.Host != "":
			names++
		}
	}
	text := fmt.Sprintf("pool %s: %s over ", p.Name, p.Policy)
	if addresses := len(p.Backends) - backups - down - names; addresses > 0 || names == 0 {
		text += count(addresses, "backend")
		if names > 0 {
			text += " and "
		}
	}
	if names > 0 {
		text += "the addresses of " + count(names, "host name")
	}
	if backups > 0 {
		text += " and " + count(backups, "backup")
	}
	if down > 0 {
		text += fmt.Sprintf(" (%d more with down: true)", down)
	}
	if p.Health != nil {
		text += fmt.Sprintf("; checked by %s every %v", p.Health.Type, p.Health.Interval)
	} else {
		text += "; no health checks"
	}
	if p.Outlier != nil {
		text += fmt.Sprintf("; ejected for %v after %s", p.Outlier.Eject, count(p.Outlier.Failures, "failure"))
	}
	if p.Queue != nil {
		text += fmt.Sprintf("; up to %s wait for %v", count(p.Queue.Size, "client"), p.Queue.Timeout)
	}
	return text
}

// describeBinds names the first few entries of bind.
func describeBinds(binds []config.Bind) string {
	const shown = 4
	var names []string
	for _, b := range binds[:min(shown, len(binds))] {
		names = append(names, b.String())
	}
	text := strings.Join(names, ", ")
	if more := len(binds) - shown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func describeACL(a *config.ACL) string {
	if a == nil {
		return "no acl, every client allowed"
	}
	prefixes := 0
	for i := range a.Rules {
		prefixes += a.Rules[i].Count()
	}
	verb := "deny"
	if a.DefaultAllow() {
		verb = "allow"
	}
	return fmt.Sprintf("acl: %s, %s, default %s", count(len(a.Rules), "rule"), count(prefixes, "prefix"), verb)
}
