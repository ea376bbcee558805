package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"l4proxy/config"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // bad configuration, or a command that failed
	exitUsage  = 2 // wrong usage
)

// defaultConfig is read when neither -c nor L4PROXY_CONFIG names a file.
const defaultConfig = "config.json"

// failure marks an error of a command whose usage was correct. Any error of cobra itself is wrong
// usage.
type failure struct{ err error }

func (f failure) Error() string { return f.err.Error() }
func (f failure) Unwrap() error { return f.err }

// failed marks err, nil included.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return failure{err}
}

// errReported is a failure whose message has been printed already.
var errReported = errors.New("reported")

// exitStatus ends the program with a status, without a message.
type exitStatus int

func (e exitStatus) Error() string { return "exit status " + strconv.Itoa(int(e)) }

// execute runs the command line and returns the exit code.
func execute(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteC()
	var failed failure
	var status exitStatus
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, errReported):
		return exitFailed
	case errors.As(err, &failed):
		printError(stderr, failed.err)
		return exitFailed
	}
	fmt.Fprintf(stderr, "l4proxy: %v\nSee '%s --help'.\n", err, command.CommandPath())
	return exitUsage
}

// printError prints an error as lines that begin with the program's name, or, for problems of a
// configuration, with their position, so that editors find it.
func printError(w io.Writer, err error) {
	var problems config.Problems
	if errors.As(err, &problems) {
		fmt.Fprintln(w, problems.Error())
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") { // joined errors have a line each
		fmt.Fprintf(w, "l4proxy: %s\n", line)
	}
}

func newRoot() *cobra.Command {
	var file, pid string
	root := &cobra.Command{
		Use:   "l4proxy",
		Short: "A Layer 4 TCP proxy and load balancer",
		Long: "l4proxy listens, checks each client's address against an access control list, picks a backend\n" +
			"and forwards bytes both ways.\n\n" +
			"Without a command, it runs the proxy with ./config.json. 'l4proxy demo' shows it at work.\n\n" +
			"Commands that talk to a running proxy find it at --admin, else $L4PROXY_ADMIN, else at the admin\n" +
			"address in the configuration. With --json they print what the API answers, for programs.\n\n" +
			"Exit codes: 0 done, 1 bad configuration or a failed command, 2 wrong usage.",
		Example: "  l4proxy check -c config.yaml && l4proxy run -c config.yaml\n" +
			"  l4proxy top",
		Args:                       noArguments,
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return runProxy(cmd, file, pidFile(pid)) },
	}
	addConfigFlag(root, &file)
	addPIDFileFlag(root, &pid)
	root.SetFlagErrorFunc(explainFlagError)
	root.CompletionOptions.DisableDefaultCmd = true // newCompletionCommand refuses other shells
	root.SetHelpCommand(newHelpCommand(root))
	root.AddCommand(
		newRunCommand(&file, &pid),
		newCheckCommand(&file),
		newStatusCommand(),
		newTopCommand(),
		newConnsCommand(),
		newKillCommand(),
		newBanCommand(),
		newUnbanCommand(),
		newBansCommand(),
		newReloadCommand(),
		newDrainCommand(),
		newWeightCommand(),
		newEventsCommand(),
		newExplainCommand(),
		newDebugCommand(),
		newUpgradeCommand(),
		newDoctorCommand(),
		newDemoCommand(),
		newSchemaCommand(),
		newVersionCommand(),
		newCompletionCommand(root),
		newManCommand(root),
	)
	addGroups(root)
	nameValues(root)
	addCompletions(root)
	return root
}

func addConfigFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "",
		"configuration file, JSON or YAML (default: $L4PROXY_CONFIG, else ./config.json)")
}

// noArguments rejects arguments, and suggests what was most likely meant.
func noArguments(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.Flags().Lookup("config") != nil && strings.ContainsAny(args[0], "./"):
		return fmt.Errorf("unexpected argument %q: to use a configuration file, write -c %s", args[0], args[0])
	case cmd.HasParent():
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		return fmt.Errorf("unknown command %q: did you mean %s?", args[0], strings.Join(similar, " or "))
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// explainFlagError lists the flags that exist: there are few.
func explainFlagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	var flags []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { flags = append(flags, "--"+f.Name) })
	return fmt.Errorf("%w: %s has %s", err, cmd.CommandPath(), strings.Join(flags, ", "))
}

// newHelpCommand is like cobra's, except that help about an unknown command is wrong usage.
func newHelpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about a command",
		Long:  "Print what a command does, with its flags; without a command, list all commands.",
		Example: "  l4proxy help\n" +
			"  l4proxy help drain",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
			for _, cmd := range root.Commands() {
				if len(args) == 0 && cmd.IsAvailableCommand() {
					all = append(all, cobra.CompletionWithDesc(cmd.Name(), cmd.Short))
				}
			}
			return all, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if err != nil {
				return err
			}
			if err := noArguments(about, rest); err != nil {
				return err
			}
			return failed(about.Help())
		},
	}
}

// configFile is the file to read: what -c says, else L4PROXY_CONFIG, else config.json here. It is
// "" when the simple variables are all set and no file was named: then none is needed.
func configFile(flag string, env func(string) (string, bool)) string {
	if flag != "" {
		return flag
	}
	if name, ok := env("L4PROXY_CONFIG"); ok && name != "" {
		return name
	}
	if _, err := os.Stat(defaultConfig); err != nil && config.FromEnvironment(env) {
		return ""
	}
	return defaultConfig
}
