package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"l4proxy/doctor"
)

// diagnosis is what `doctor --json` prints. Names are stable.
type diagnosis struct {
	// OK says that there is no problem.
	OK bool `json:"ok"`
	// File is the configuration; "" for none, or for the environment.
	File string `json:"file"`
	// PID is the running proxy whose limits were looked at; 0 for none.
	PID      int              `json:"pid"`
	Problems int              `json:"problems"`
	Warnings int              `json:"warnings"`
	Findings []doctor.Finding `json:"findings"`
}

func newDoctorCommand() *cobra.Command {
	flags := new(adminFlags)
	var all bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check this machine and the configuration for what bites people",
		Long: "Check this machine and the configuration for what bites people: limits, kernel tables,\n" +
			"security profiles. Each finding says what to do. Problems come first, and make the exit status 1.\n\n" +
			"Without a configuration, it checks the machine alone. If the proxy is running and has an admin\n" +
			"address, it looks at the limits of that process: its limits may differ from those of your shell.",
		Example: "  l4proxy doctor\n" +
			"  l4proxy doctor -c /etc/l4proxy/config.yaml --all",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			patient, err := examine(ctx, flags, os.LookupEnv)
			if err != nil {
				return failure{err}
			}
			findings := doctor.Run(patient.facts)
			if ctx.Err() != nil {
				return failure{errors.New("interrupted")}
			}
			out := cmd.OutOrStdout()
			if flags.json {
				err = printJSON(out, patient.diagnosis(findings))
			} else {
				err = patient.print(out, findings, all)
			}
			if err != nil {
				return failure{err}
			}
			if doctor.Count(findings, doctor.Problem) > 0 {
				return errReported
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().Lookup("config").Usage = "configuration file, JSON or YAML (default: $L4PROXY_CONFIG, else ./config.json if it exists)"
	cmd.Flags().Lookup("json").Usage = "print the findings as JSON"
	cmd.Flags().BoolVar(&all, "all", false, "also print a line for each check that passes")
	return cmd
}

func (p *patient) diagnosis(findings []doctor.Finding) *diagnosis {
	problems := doctor.Count(findings, doctor.Problem)
	return &diagnosis{
		OK: problems == 0, File: p.file, PID: p.facts.PID, Problems: problems, Warnings: doctor.Count(findings, doctor.Warning), Findings: findings,
	}
}

func (p *patient) print(w io.Writer, findings []doctor.Finding, all bool) error {
	fmt.Fprintf(w, "%s\n\n", strings.Join(p.about, "\n"))
	if err := doctor.Print(w, findings, all, colored(w)); err != nil {
		return err
	}
	problems, warnings := doctor.Count(findings, doctor.Problem), doctor.Count(findings, doctor.Warning)
	_, err := fmt.Fprintf(w, "\n%s, %s\n", count(problems, "problem"), count(warnings, "warning"))
	return err
}

// colored reports whether to use colors: on a terminal, unless NO_COLOR is set.
func colored(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
