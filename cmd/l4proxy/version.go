package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"l4proxy/config"
)

// version is the release; set at build time with -ldflags "-X main.version=1.2.3".
var version = "0.1.0-dev"

// versionDate is when that version was begun. The manual pages have it if the binary was built
// without version control.
var versionDate = time.Date(2026, time.November, 28, 0, 0, 0, 0, time.UTC)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: "Print the version of this program, the revision of the source that it was built from, and the\n" +
			"version of Go. 'l4proxy status' shows the version of a running proxy.",
		Example: "  l4proxy version",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "l4proxy %s (%s, %s %s/%s)\n",
				version, revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return failed(err)
		},
	}
}

// revision is the commit the binary was built from, as the go command recorded it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "revision unknown"
	}
	hash, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			hash = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = ", modified"
		}
	}
	if hash == "" {
		return "revision unknown"
	}
	return "revision " + hash + dirty
}

func newSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration",
		Long: "Print the JSON Schema of the configuration. With it, an editor completes keys and marks\n" +
			"mistakes while you write. 'l4proxy check' finds more.",
		Example: "  l4proxy schema > l4proxy.schema.json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			schema, err := config.Schema()
			if err != nil {
				return failure{err}
			}
			_, err = cmd.OutOrStdout().Write(schema)
			return failed(err)
		},
	}
}
