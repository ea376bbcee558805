package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func newManCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages to a directory",
		Long: "Write the manual pages of l4proxy and of each of its commands to a directory, in section 1. They\n" +
			"are made from the same texts as --help. The same binary always writes the same bytes.",
		Example: "  l4proxy man /usr/local/share/man/man1\n" +
			"  l4proxy man . && man ./l4proxy-drain.1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return errors.New("name one directory, such as /usr/local/share/man/man1")
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			date, err := manDate(os.LookupEnv)
			if err != nil {
				return failure{err}
			}
			written := 0
			for _, c := range append([]*cobra.Command{root}, root.Commands()...) {
				if c != root && !c.IsAvailableCommand() {
					continue
				}
				file := filepath.Join(args[0], manName(c)+".1")
				if err := os.WriteFile(file, []byte(manPage(c, date)), 0o644); err != nil {
					return failure{fmt.Errorf("cannot write the manual pages: %w", err)}
				}
				written++
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s in %s\n", count(written, "manual page"), args[0])
			return failed(err)
		},
	}
}

// manDate is the date of the manual pages: that of the source, so that the same source makes the
// same pages (https://reproducible-builds.org/specs/source-date-epoch).
func manDate(env func(string) (string, bool)) (time.Time, error) {
	if text, ok := env("SOURCE_DATE_EPOCH"); ok && text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q: write seconds since 1970", text)
		}
		return time.Unix(seconds, 0).UTC(), nil
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if at, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return at.UTC(), nil
			}
		}
	}
	return versionDate, nil
}
