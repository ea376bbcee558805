package main

import "github.com/spf13/cobra"

// variable is a variable of the environment that l4proxy reads.
type variable struct {
	name, about string
	read        func(*cobra.Command) bool // by which commands
}

// environment are the variables that the manual pages explain.
var environment = []variable{
	{"L4PROXY_CONFIG", "The configuration file, if -c names none.", hasFlag("config")},
	{"L4PROXY_ADMIN", "The admin address, host:port or unix:/path. For a command that talks to a running proxy, it comes " +
		"before that of the configuration; for the proxy itself, it replaces it.", hasFlag("config")},
	{"L4PROXY_ADMIN_TOKEN", "The token of the admin address, if --token-file names none.", hasFlag("token-file")},
	{"L4PROXY_LOG_LEVEL", "Replaces log.level: debug, info, warn or error.", runs},
	{"L4PROXY_LOG_FORMAT", "Replaces log.format: auto, text or json.", runs},
	{"LISTENER_PORT, BACKEND_PORTS, ACCESS_CONTROL_LIST", "Replace the keys of the simple configuration. With all three, no file is needed.", runs},
	{"NO_COLOR", "If set and not empty, the output has no colors.", hasFlag("admin")},
	{"SOURCE_DATE_EPOCH", "The date of the pages, in seconds since 1970, in place of that of the source.", isNamed("man")},
}

func hasFlag(name string) func(*cobra.Command) bool {
	return func(cmd *cobra.Command) bool { return cmd.Flags().Lookup(name) != nil }
}

func isNamed(name string) func(*cobra.Command) bool {
	return func(cmd *cobra.Command) bool { return cmd.Name() == name }
}

// runs reports whether a command reads the whole configuration.
func runs(cmd *cobra.Command) bool {
	return !cmd.HasParent() || cmd.Name() == "run" || cmd.Name() == "check"
}
